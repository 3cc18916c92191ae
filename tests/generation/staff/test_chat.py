"""Upstreams, chat models and rules in the admin: checked as the gateway reads them; credentials never come out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.test import Client

from accounts.ids import uuid7
from accounts.tenancy import across_tenants, in_tenant
from accounts.valkey import redis_client
from generation.books.upstreams import open_credential
from generation.chat.breaker import KEY
from generation.models import ChatCall, ChatGrant, ChatModel, PromptRule, Upstream
from tests.factories import Person
from tests.generation.chat.scripted import serving
from tests.generation.chat.test_asking import answer as answer_like_a_server

SQL = psycopg.Connection[tuple[Any, ...]]
UPSTREAM = "/admin/generation/upstream/"
MODEL = "/admin/generation/chatmodel/"
RULE = "/admin/generation/promptrule/"


def upstream_form(**fields: Any) -> dict[str, Any]:
    values = {"slug": "desk", "kind": "openai", "base_url": "http://127.0.0.1:8000/v1", "enabled": "on",
              "connect_s": 2, "first_byte_s": 3, "idle_s": 30, "total_s": 600, "loading_s": 0, "concurrency": 8,
              "weight": 1, "takes": ["tools", "seed"], "credential": "", "health_path": ""}  # fmt: skip
    return values | fields


def model_form(*, targets: int = 0, grants: int = 0, **fields: Any) -> dict[str, Any]:
    values = {"slug": "small", "title": "Small", "max_tokens": 100, "max_prompt_chars": 1000, "sampling": "{}",
              "enabled": "on", "position": 0, "targets-TOTAL_FORMS": targets, "targets-INITIAL_FORMS": 0,
              "chatgrant-TOTAL_FORMS": grants, "chatgrant-INITIAL_FORMS": 0}  # fmt: skip
    return values | fields


def complaints(answer: Any) -> str:
    assert answer.status_code == 200, answer.content[:300]
    return str(answer.context["adminform"].form.errors)


def test_an_upstream_and_its_credential(staff: Client, admin_sql: SQL) -> None:
    assert staff.post(f"{UPSTREAM}add/", upstream_form(credential="sk-secret")).status_code == 302
    row = Upstream.objects.get()
    assert (row.slug, row.takes) == ("desk", ["tools", "seed"]) and open_credential(vars(row)) == "sk-secret"
    page = staff.get(f"{UPSTREAM}desk/change/")
    assert page.status_code == 200 and b"sk-secret" not in page.content and row.credential not in page.content.decode()
    assert staff.post(f"{UPSTREAM}desk/change/", upstream_form(weight=3)).status_code == 302
    row.refresh_from_db()
    assert row.weight == 3 and open_credential(vars(row)) == "sk-secret", "an empty field leaves it"
    staff.post(f"{UPSTREAM}desk/change/", upstream_form(without_credential="on"))
    row.refresh_from_db()
    assert row.credential == ""
    events = admin_sql.execute("SELECT action, detail FROM accounts_auditevent ORDER BY id").fetchall()
    assert [action for action, _ in events] == [f"admin.upstream.{verb}" for verb in ("added", "changed", "changed")]
    assert events[0][1]["credential"] == "changed" and "sk-secret" not in str(events)


def test_all_fields_are_those_of_a_later_release_too(staff: Client) -> None:
    from generation.books.upstreams import OPTIONAL

    staff.post(f"{UPSTREAM}add/", upstream_form(takes=list(OPTIONAL)))
    assert Upstream.objects.get().takes is None
    staff.post(f"{UPSTREAM}desk/change/", upstream_form(takes=[]))
    assert Upstream.objects.get().takes == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "http://127.0.0.1:99999"),
        ("base_url", "file:///etc/passwd"),
        ("credential", "a\u00a0b"),
        ("slug", "Desk"),
        ("concurrency", 0),
        ("takes", ["api_base"]),
        ("kind", "other"),
    ],
)
def test_what_cannot_be_an_upstream(field: str, value: Any, staff: Client) -> None:
    assert complaints(staff.post(f"{UPSTREAM}add/", upstream_form(**{field: value})))
    assert not Upstream.objects.exists()


@contextmanager
def served() -> Iterator[str]:
    """A server in a thread of its own; its base URL."""
    ready, end = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with serving(answer_like_a_server) as server:
            found.append(server.upstream().base_url)
            ready.set()
            await asyncio.to_thread(end.wait, 20)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        end.set()
        thread.join()


def test_asking_for_its_models(staff: Client) -> None:
    with served() as base_url:
        Upstream.objects.create(slug="one", base_url=base_url)
        Upstream.objects.create(slug="two", base_url="http://127.0.0.1:1")
        page = staff.post(f"{UPSTREAM}one/ask/", follow=True)
        assert [str(message) for message in page.context["messages"]] == ["one is well. Its models: qwen"]
        answer = staff.post(UPSTREAM, {"action": "ask", "_selected_action": ["one", "two"]}, follow=True)
    said = [str(message) for message in answer.context["messages"]]
    assert said[0] == "one is well. Its models: qwen" and said[1].startswith("two is not well: ")
    assert staff.get(f"{UPSTREAM}one/ask/").status_code == 405
    assert Client().post(f"{UPSTREAM}one/ask/").status_code == 302


def test_breakers_stand_in_the_list(staff: Client) -> None:
    for slug in ("one", "two", "three"):
        Upstream.objects.create(slug=slug, base_url="http://127.0.0.1:1")
    redis = redis_client()
    redis.hset(KEY + "one", "open_until", 2**50)
    redis.hset(KEY + "two", "open_until", 1)
    try:
        rows = staff.get(UPSTREAM).context["cl"].result_list
        assert {row.slug: row.breaker_state for row in rows} == {"one": "open", "two": "half_open", "three": "closed"}
    finally:
        redis.delete(KEY + "one", KEY + "two")


def test_a_chat_model_with_upstreams_and_tenants(staff: Client, alice: Person) -> None:
    Upstream.objects.create(slug="desk", base_url="http://127.0.0.1:1")
    more = {"targets-0-upstream": "desk", "targets-0-name": "qwen3:0.6b", "chatgrant-0-tenant": alice.tenant.pk,
            "chatgrant-0-model": "small"}  # fmt: skip
    answer = staff.post(f"{MODEL}add/", model_form(targets=1, grants=1, sampling='{"temperature": 0.2}', **more))
    assert answer.status_code == 302, answer.content[:500]
    row = ChatModel.objects.get()
    assert (row.public, row.sampling, row.targets.get().name) == (False, {"temperature": 0.2}, "qwen3:0.6b")
    with across_tenants():
        assert ChatGrant.objects.get().tenant_id == alice.tenant.pk
    assert "small for" in staff.get(f"/admin/accounts/tenant/{alice.tenant.pk}/change/").content.decode()


@pytest.mark.parametrize("sampling", ['{"temperature": 3}', '{"api_base": "x"}', "[1]", '{"seed": "x"}'])
def test_sampling_that_no_request_may_have(sampling: str, staff: Client) -> None:
    assert "sampling" in complaints(staff.post(f"{MODEL}add/", model_form(sampling=sampling)))


def test_rules(staff: Client, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        rule = PromptRule.objects.create(tenant_id=alice.tenant.pk, text="lighthouse")
    assert staff.get(f"{RULE}add/").status_code == 403
    assert "lighthouse" in staff.get(RULE).content.decode()
    form = {"kind": "pattern", "action": "stop", "text": "a*", "enabled": "on"}
    assert "text" in complaints(staff.post(f"{RULE}{rule.pk}/change/", form))
    staff.post(f"{RULE}{rule.pk}/change/", {"kind": "word", "action": "stop", "text": "fish"})
    with across_tenants():
        rule.refresh_from_db()
    assert (rule.text, rule.enabled, rule.tenant_id) == ("fish", False, alice.tenant.pk)


def test_rules_that_cannot_be_together(staff: Client, alice: Person, mallory: Person) -> None:
    """As for the tenant itself: rules that cannot be applied would block every answer."""
    heavy = {"kind": "pattern", "action": "redact", "enabled": "on"}
    with in_tenant(mallory.tenant.pk):
        PromptRule.objects.create(tenant_id=mallory.tenant.pk, text="others")
    with in_tenant(alice.tenant.pk):
        for letter in "abcd":
            text = f".{{0,30}}[a-{letter}]{{1,40}}!"
            PromptRule.objects.create(tenant_id=alice.tenant.pk, kind="pattern", text=text)
        rule = PromptRule.objects.create(tenant_id=alice.tenant.pk, text="fish")
    page = f"{RULE}{rule.pk}/change/"
    assert "ways at one place" in complaints(staff.post(page, {**heavy, "text": ".{0,30}[a-e]{1,40}!"}))
    assert "this rule already" in complaints(staff.post(page, {**heavy, "text": ".{0,30}[a-d]{1,40}!"}))
    assert staff.post(page, {"kind": "word", "action": "redact", "text": "others"}).status_code == 302


def test_calls_are_shown_without_their_words(staff: Client, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        call = ChatCall.objects.create(
            id=uuid7(), tenant_id=alice.tenant.pk, user=alice.user.pk, model="small", lane="blue", outcome="done",
            charged_on="2026-11-27", tokens_in=12, tokens_out=34567, prompt="user: a secret", answer="a secret",
        )  # fmt: skip
    base = "/admin/generation/chatcall/"
    for address in (base, f"{base}{call.pk}/change/", f"{base}?q={alice.user.email}"):
        page = staff.get(address).content.decode()
        assert "34567" in page and "secret" not in page, address
    assert staff.get(f"{base}?prompt__contains=light").status_code in (302, 400)
    assert staff.post(f"{base}{call.pk}/delete/", {"post": "yes"}).status_code == 403
