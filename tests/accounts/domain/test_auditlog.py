"""Reading the audit log: the tenant's own, filtered, in pages, as CSV, in words."""

from __future__ import annotations

import ast
import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from accounts.domain.audit import Actor, acting, record
from accounts.domain.auditlog import Filters, actions_of, export_events, list_events
from accounts.domain.auditwords import ACTIONS, RESULTS, action_words, result_words
from accounts.errors import InvalidField, NotAllowed
from accounts.models import AuditEvent
from accounts.tenancy import in_tenant
from tests.factories import Person

ROOT = Path(__file__).resolve().parents[3]


def write(who: Person, action: str, **fields: Any) -> None:
    with in_tenant(who.tenant.pk), acting(Actor(user=who.user.pk, key=fields.pop("key", None), address="192.0.2.1")):
        record(action, **fields)


def found(who: Person, **filters: str) -> list[str]:
    with in_tenant(who.tenant.pk):
        page = list_events(by=who.caller, filters=Filters(**filters), cursor=None, limit=100)
        return [event.row.action for event in page.results]


def test_filters(alice: Person, bob: Person, mallory: Person) -> None:
    write(mallory, "key.changed")
    write(alice, "key.changed", target=f"key:{alice.key.pk}", key=alice.key.pk)
    write(bob, "denied", result="denied")
    assert "key.changed" in found(mallory)
    assert found(alice, action="key.changed") == ["key.changed"]
    assert found(alice, person=bob.user.email.upper()) == ["denied"]
    assert found(alice, person=str(bob.user.pk), result="denied") == ["denied"]
    assert found(alice, person=mallory.user.email) == found(alice, person="nobody@example.com") == []
    today = timezone.now().date()
    assert found(alice, day=f"{today}", action="key.changed") == ["key.changed"]
    assert found(alice, day=f"{today - timedelta(days=1)}") == []
    with in_tenant(alice.tenant.pk):
        assert "denied" in actions_of() and sorted(actions_of()) == actions_of()
        (event,) = list_events(by=alice.caller, filters=Filters(action="key.changed"), cursor=None, limit=5).results
        assert (event.person, event.key) == (alice.user.email, f"test key ({alice.key.prefix}…)")
        assert (event.target_name, event.row.address) == (f"test key ({alice.key.prefix}…)", "192.0.2.1")


@pytest.mark.parametrize(
    "filters",
    [
        {"day": "yesterday"},
        {"day": "2026-02-30"},
        {"day": "9999-12-31"},
        {"result": "maybe"},
        {"action": "a\x00"},
        {"person": "\n"},
    ],
)
def test_filters_that_are_none(alice: Person, filters: dict[str, str]) -> None:
    with in_tenant(alice.tenant.pk):
        with pytest.raises(InvalidField) as refused:
            list_events(by=alice.caller, filters=Filters(**filters), cursor=None, limit=5)
        assert list(refused.value.fields) == list(filters)
        with pytest.raises(InvalidField):
            export_events(by=alice.caller, filters=Filters(**filters))


def test_only_admins_read(bob: Person) -> None:
    with in_tenant(bob.tenant.pk):
        for act in (list_events, export_events):
            more: dict[str, Any] = {"cursor": None, "limit": 5} if act is list_events else {}
            with pytest.raises(NotAllowed):
                act(by=bob.caller, filters=Filters(), **more)


def test_pages_cost_the_same_however_long(alice: Person) -> None:
    for number in range(30):
        write(alice, "key.changed", target=f"key:{alice.key.pk}", detail={"n": number})
    costs = []
    for limit in (2, 20):
        with (
            in_tenant(alice.tenant.pk),
            CaptureQueriesContext(
                connection,
            ) as queries,
        ):
            page = list_events(by=alice.caller, filters=Filters(), cursor=None, limit=limit)
        costs.append(len(queries))
        assert len(page.results) == limit and page.next
    assert costs[0] == costs[1] <= 3


def test_csv_has_all_and_no_formula(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.domain.auditlog.CHUNK", 2)
    for number in range(5):
        write(alice, "key.changed", target=f"=1+{number}", detail={"name": "=cmd()"})
    with in_tenant(alice.tenant.pk):
        text = "".join(export_events(by=alice.caller, filters=Filters(action="key.changed")))
        assert AuditEvent.objects.get(action="audit.exported").detail == {"filters": {"action": "key.changed"}}
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline="")))
    assert [row["target"] for row in rows] == [f"'=1+{number}" for number in (4, 3, 2, 1, 0)]
    assert {(row["person"], row["action"], row["result"]) for row in rows} == {(alice.user.email, "key.changed", "ok")}


def literal_actions() -> set[str]:
    """The first argument of every `record(…)` and `record_denial(…)` that is written out."""
    names = set()
    for app in ("accounts", "generation", "qwenstudio"):
        for file in (ROOT / app).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id == "_end":  # of accounts/domain/leaked.py, which records what it is told
                    names |= {str(word.value.value) for word in node.keywords if word.arg == "action"
                              and isinstance(word.value, ast.Constant)}  # fmt: skip
                if not node.args:
                    continue
                if node.func.id not in ("record", "record_denial"):
                    continue
                first = node.args[0]
                choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                words = [word.value for word in choices if isinstance(word, ast.Constant)]
                names |= {word for word in words if isinstance(word, str)}
    return names


def test_every_action_has_words_in_both_languages() -> None:
    assert literal_actions() - ACTIONS.keys() == set(), "say it in accounts/domain/auditwords.py"
    for action in ACTIONS:
        with override("zh-hans"):
            chinese = action_words(action)
        with override("en"):
            assert chinese != action_words(action) != action
    assert {result_words(result) for result in RESULTS}.isdisjoint(RESULTS.keys() - {"denied", "refused", "failed"})
    assert action_words("unheard.of") == "unheard.of"
    assert action_words("admin.plan.changed") == "staff, in the admin: plan.changed"
