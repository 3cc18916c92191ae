"""/api/v1/rules, and whether the words of chat calls are kept."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from accounts.tenancy import in_tenant
from generation.models import PromptRule
from tests.factories import Person

SQL = psycopg.Connection[tuple[Any, ...]]
RULES = "/api/v1/rules"


@pytest.fixture
def boss(alice: Person) -> Any:
    """Alice, signed in: her key has no `admin`."""
    return alice.client


def send(client: Any, method: str, path: str = "", body: Any = None) -> Any:
    call = getattr(client, method)
    return call(f"{RULES}{path}", body, content_type="application/json") if body is not None else call(RULES + path)


def test_make_read_change_delete(boss: Any, alice: Person, admin_sql: SQL) -> None:
    answer = send(boss, "post", body={"text": " lighthouse "})
    assert answer.status_code == 201, answer.content
    rule = answer.json()
    assert {**rule, "id": "", "created_at": "", "updated_at": ""} == {
        "id": "", "kind": "word", "action": "redact", "text": "lighthouse", "enabled": True, "created_at": "",
        "updated_at": "",
    }  # fmt: skip
    assert answer.headers["Location"].endswith(f"{RULES}/{rule['id']}")
    changed = send(boss, "patch", f"/{rule['id']}", {"kind": "pattern", "text": "light(house)?", "action": "stop"})
    assert (changed.status_code, changed.json()["action"]) == (200, "stop")
    assert send(boss, "get").json() == {"results": [changed.json()], "next": None, "previous": None}
    assert send(boss, "get", f"/{rule['id']}").json() == changed.json()
    assert send(boss, "delete", f"/{rule['id']}").status_code == 204
    assert send(boss, "get", f"/{rule['id']}").status_code == 404
    events = admin_sql.execute("SELECT action FROM accounts_auditevent WHERE action LIKE 'rule.%' ORDER BY id")
    assert events.fetchall() == [("rule.made",), ("rule.changed",), ("rule.deleted",)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"), ({"text": ""}, "text"), ({"text": "x" * 65}, "text"), ({"text": "x" * 201}, "text"),
        ({"text": "(a+)+", "kind": "pattern"}, "text"), ({"text": "old"}, "text"),
        ({"text": "a", "kind": "regex"}, "kind"), ({"text": "a", "action": "delete"}, "action"),
        ({"text": "a", "enabled": 5}, "enabled"), ({"text": "a", "x": 1}, "x"),
    ],
)  # fmt: skip
def test_what_is_no_rule(body: dict[str, Any], field: str, boss: Any, alice: Person) -> None:
    assert send(boss, "post", body={"text": "old"}).status_code == 201
    answer = send(boss, "post", body=body)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field]), answer.content
    with in_tenant(alice.tenant.pk):
        assert [row.text for row in PromptRule.objects.all()] == ["old"]


def test_rules_that_cannot_be_applied_together(boss: Any, alice: Person) -> None:
    """What is refused is the rule that would be too much, not every answer from then on."""
    with in_tenant(alice.tenant.pk):
        PromptRule.objects.bulk_create(PromptRule(tenant_id=alice.tenant.pk, text=f"w{n}") for n in range(200))
    answer = send(boss, "post", body={"text": "one more"})
    assert answer.status_code == 400 and "200 rules, the most there may be" in answer.json()["errors"]["text"][0]


def test_whose_they_are(alice: Person, bob: Person, mallory: Person, boss: Any) -> None:
    rule = send(boss, "post", body={"text": "lighthouse"}).json()["id"]
    for client, status in ((bob.client, 403), (alice.api, 403), (mallory.client, 404)):
        assert send(client, "get", f"/{rule}").status_code == status
        assert send(client, "patch", f"/{rule}", {"enabled": False}).status_code == status
    assert send(mallory.client, "get").json()["results"] == []
    assert send(mallory.client, "post", body={"text": "lighthouse"}).status_code == 201


def test_whether_words_are_kept(boss: Any, alice: Person, bob: Person) -> None:
    assert boss.get("/api/v1/tenant").json()["keeps_chats"] is False
    change = {"data": {"keeps_chats": True}, "content_type": "application/json"}
    assert bob.client.patch("/api/v1/tenant", **change).status_code == 403
    assert boss.patch("/api/v1/tenant", **change).json()["keeps_chats"] is True
    assert boss.post("/team/organisation/", {"name": "A", "here": str(alice.tenant.pk)}).status_code == 302
    assert boss.get("/api/v1/tenant").json()["keeps_chats"] is False
    boss.post("/team/organisation/", {"name": "A", "keeps_chats": "on", "here": str(alice.tenant.pk)})
    assert boss.get("/api/v1/tenant").json()["keeps_chats"] is True
    page = boss.get("/team/organisation/").content.decode()
    assert re.search(r'<input type="checkbox" name="keeps_chats"[^>]* checked', page)
