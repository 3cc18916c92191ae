"""/api/v1/conversations, /messages and /presets: turns as rows, and nobody's but their member's."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.test import Client

from accounts.enums import Role
from accounts.tenancy import in_tenant
from generation.books import conversations as conversations_module
from generation.books import presets as presets_module
from generation.books import turns as turns_module
from generation.models import ChatModel, Conversation, Message
from tests.factories import Person, make_member
from tests.openapi import check, read_schema

SQL = psycopg.Connection[tuple[Any, ...]]
ROOT = "/api/v1/conversations"
PRESETS = "/api/v1/presets"


@pytest.fixture(autouse=True)
def _models(db: object) -> None:
    for place, slug in enumerate(("talker", "thinker")):
        ChatModel.objects.create(slug=slug, title=slug.title(), position=place)


def send(client: Any, method: str, path: str, body: Any = None) -> Any:
    more = {} if body is None else {"data": body, "content_type": "application/json"}
    return getattr(client, method)(path, **more)


def begin(person: Person, text: str = "Why is the sky blue?", **more: Any) -> dict[str, Any]:
    answer = send(person.client, "post", ROOT, {"text": text, **more})
    assert answer.status_code == 201, answer.content
    found: dict[str, Any] = answer.json()
    return found


def address(turn: dict[str, Any], end: str = "") -> str:
    return f"{ROOT}/{turn['conversation']['id']}{end}"


def finish(sql: SQL, turn: dict[str, Any], text: str = "Because of the air.") -> None:
    """As the door ends an answer."""
    sql.execute(
        "UPDATE generation_message SET status = 'done', text = %s, folded = lower(%s), ended_at = now() WHERE id = %s",
        (text, text, turn["answer"]["id"]),
    )


def rows(person: Person) -> list[tuple[int, str, str, str]]:
    """(place, role, status, text) of all messages of the tenant."""
    with in_tenant(person.tenant.pk):
        return list(Message.objects.order_by("place").values_list("place", "role", "status", "text"))


def test_a_conversation_begins_with_its_first_turn(alice: Person) -> None:
    turn = begin(alice, "Why is\n the  sky blue?", system=" Be short. ")
    assert turn["conversation"] | {"id": "", "created_at": "", "updated_at": ""} == {
        "id": "", "title": "Why is", "model": "talker", "system": "Be short.", "created_at": "", "updated_at": "",
    }  # fmt: skip
    assert rows(alice) == [(0, "user", "done", "Why is\n the  sky blue?"), (1, "assistant", "waiting", "")]
    assert (turn["said"]["place"], turn["answer"]["status"], turn["answer"]["model"]) == (0, "waiting", "talker")
    empty = send(alice.client, "post", ROOT, {"model": "thinker"})
    assert (empty.status_code, empty.json()["answer"], empty.json()["conversation"]["title"]) == (201, None, "")
    assert empty["Location"].endswith(f"{ROOT}/{empty.json()['conversation']['id']}")


def test_turns_come_one_after_the_other(alice: Person, admin_sql: SQL) -> None:
    turn = begin(alice)
    second = {"text": "And at night?", "model": "thinker"}
    early = send(alice.client, "post", address(turn, "/messages"), second)
    assert (early.status_code, early.json()["code"]) == (409, "answer_under_way")
    finish(admin_sql, turn)
    said = send(alice.client, "post", address(turn, "/messages"), second)
    assert (said.status_code, said["Location"].endswith(address(turn, "/events"))) == (202, True)
    assert said.json()["conversation"]["model"] == "thinker"
    assert [row[:3] for row in rows(alice)] == [
        (0, "user", "done"), (1, "assistant", "done"), (2, "user", "done"), (3, "assistant", "waiting"),
    ]  # fmt: skip
    first = send(alice.client, "get", address(turn, "/messages?limit=3")).json()
    assert [one["place"] for one in first["results"]] == [3, 2, 1]
    rest = send(alice.client, "get", first["next"].partition("testserver")[2] or first["next"]).json()
    assert [one["place"] for one in rest["results"]] == [0] and rest["next"] is None


def test_answered_anew_and_said_differently(alice: Person, admin_sql: SQL) -> None:
    turn = begin(alice)
    finish(admin_sql, turn)
    further = send(alice.client, "post", address(turn, "/messages"), {"text": "More"}).json()
    finish(admin_sql, further, "More it is.")
    again = send(alice.client, "post", address(turn, "/answer"), {})
    assert (again.status_code, again.json()["said"], again.json()["answer"]["place"]) == (202, None, 3)
    finish(admin_sql, again.json(), "Other words.")
    assert [row[3] for row in rows(alice)] == ["Why is the sky blue?", "Because of the air.", "More", "Other words."]
    other = send(alice.client, "put", f"/api/v1/messages/{turn['said']['id']}", {"text": "Why is it red?"})
    assert (other.status_code, other.json()["said"]["place"]) == (202, 0)
    assert rows(alice) == [(0, "user", "done", "Why is it red?"), (1, "assistant", "waiting", "")]
    of_the_model = send(alice.client, "put", f"/api/v1/messages/{other.json()['answer']['id']}", {"text": "x"})
    assert of_the_model.status_code == 404, "an answer is nobody's to change"


def test_stop(alice: Person, admin_sql: SQL) -> None:
    turn = begin(alice)
    stopped = send(alice.client, "post", address(turn, "/stop"), {}).json()["answer"]
    assert stopped["status"] == "stopped" and rows(alice)[1][2] == "stopped", "nobody had begun it"
    assert send(alice.client, "post", address(turn, "/stop"), {}).json() == {"answer": None}
    again = send(alice.client, "post", address(turn, "/answer"), {}).json()
    admin_sql.execute(
        "UPDATE generation_message SET status = 'running', lease_until = now() + interval '1 minute' WHERE id = %s",
        (again["answer"]["id"],),
    )
    assert send(alice.client, "post", address(turn, "/stop"), {}).json()["answer"]["status"] == "running"
    with in_tenant(alice.tenant.pk):
        assert Message.objects.get(pk=again["answer"]["id"]).stop, "its writer is told"


def test_renamed_searched_and_deleted(alice: Person, admin_sql: SQL) -> None:
    sky, sea = begin(alice), begin(alice, "What is in the Ocean?")
    finish(admin_sql, sky, "Rayleigh scattering, 天空是蓝色的")
    changed = send(alice.client, "patch", address(sky), {"title": " The sky ", "system": "Rhyme."})
    assert (changed.status_code, changed.json()["title"], changed.json()["system"]) == (200, "The sky", "Rhyme.")
    found = {
        query: [one["title"] for one in send(alice.client, "get", f"{ROOT}?q={query}").json()["results"]]
        for query in ("", "rayleigh", "OCEAN", "天空", "sky scatt", "nowhere")
    }
    assert found == {
        "": ["What is in the Ocean?", "The sky"], "rayleigh": ["The sky"], "OCEAN": ["What is in the Ocean?"],
        "天空": ["The sky"], "sky scatt": ["The sky"], "nowhere": [],
    }  # fmt: skip
    assert send(alice.client, "delete", address(sky)).status_code == 204
    assert send(alice.client, "get", address(sky)).status_code == 404
    assert [row[3] for row in rows(alice)] == ["What is in the Ocean?", ""], "with its messages, under way or not"
    assert send(alice.client, "get", address(sea)).json()["title"] == "What is in the Ocean?"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "x", "model": "none"}, "model"), ({"text": "a" * 32_769}, "text"),
        ({"text": "x", "system": "s" * 8001}, "system"), ({"text": "x", "title": "t" * 121}, "title"),
        ({"text": "x", "title": "a\nb"}, "title"), ({"text": "x", "more": 1}, "more"), ({"text": "  \n"}, "text"),
    ],
)  # fmt: skip
def test_what_is_no_turn(body: dict[str, Any], field: str, alice: Person) -> None:
    answer = send(alice.client, "post", ROOT, body)
    assert answer.status_code in (400, 404) and (field in answer.json().get("errors", {}) or field == "model")
    with in_tenant(alice.tenant.pk):
        assert not Conversation.objects.exists() and not Message.objects.exists(), "both or none"


def test_how_much_there_may_be(alice: Person, admin_sql: SQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "MAX_MESSAGES", 3)
    monkeypatch.setattr(conversations_module, "MAX_CONVERSATIONS", 1)
    monkeypatch.setattr(presets_module, "MAX_PRESETS", 1)
    turn = begin(alice)
    finish(admin_sql, turn)
    full = send(alice.client, "post", address(turn, "/messages"), {"text": "x"})
    assert (full.status_code, full.json()["code"]) == (409, "conversation_full")
    more = send(alice.client, "post", ROOT, {"text": "x"})
    assert (more.status_code, more.json()["code"]) == (409, "too_many_conversations")
    for name, status, code in (("a", 201, None), ("b", 409, "too_many_presets")):
        answer = send(alice.client, "post", PRESETS, {"name": name, "text": "x"})
        assert (answer.status_code, answer.json().get("code")) == (status, code)


def test_presets(alice: Person) -> None:
    made = send(alice.client, "post", PRESETS, {"name": "Short", "text": " One sentence. "})
    assert (made.status_code, made.json()["text"]) == (201, "One sentence.")
    one = f"{PRESETS}/{made.json()['id']}"
    twice = send(alice.client, "post", PRESETS, {"name": "short", "text": "x"})
    assert (twice.status_code, twice.json()["code"]) == (409, "preset_exists")
    assert send(alice.client, "patch", one, {"name": "SHORT"}).json()["name"] == "SHORT"
    assert send(alice.client, "get", PRESETS).json()["results"] == [send(alice.client, "get", one).json()]
    assert send(alice.client, "delete", one).status_code == 204
    assert send(alice.client, "get", one).status_code == 404


def test_nobody_else_sees_them(alice: Person, bob: Person, mallory: Person) -> None:
    """Not the owner of the tenant, not by any list or search; a key of one's own is oneself."""
    turn = begin(bob, "A secret wish")
    preset = send(bob.client, "post", PRESETS, {"name": "Mine", "text": "x"}).json()["id"]
    own = [address(turn), address(turn, "/messages"), address(turn, "/events"), f"{PRESETS}/{preset}"]
    for other in (alice, mallory):
        assert [send(other.client, "get", path).status_code for path in own] == [404] * 4
        assert send(other.client, "get", f"{ROOT}?q=secret").json()["results"] == []
        assert send(other.client, "get", PRESETS).json()["results"] == []
        assert send(other.client, "delete", address(turn)).status_code == 404
        assert send(other.client, "put", f"/api/v1/messages/{turn['said']['id']}", {"text": "x"}).status_code == 404
    viewer = Client()
    viewer.force_login(make_member(alice.tenant, Role.VIEWER))
    assert send(viewer, "get", ROOT).status_code == 403
    assert send(bob.api, "get", ROOT).status_code == 403, "the key has no scope for chat"
    assert [row[3] for row in rows(bob)] == ["A secret wish", ""]


def test_without_the_door(alice: Person, admin_sql: SQL) -> None:
    """Where no async door stands in front, the events tell the present state."""
    turn = begin(alice)
    events = send(alice.client, "get", address(turn, "/events"))
    assert events["Content-Type"].startswith("text/event-stream") and b"event: answer" in events.content
    finish(admin_sql, turn)
    assert b"event: end" in send(alice.client, "get", address(turn, "/events")).content
    empty = send(alice.client, "post", ROOT, {}).json()
    assert b"event: idle" in send(alice.client, "get", address(empty, "/events")).content


def test_a_list_asks_as_much_for_many(alice: Person, django_assert_max_num_queries: Any) -> None:
    for number in range(8):
        begin(alice, f"Question {number}")
    with django_assert_max_num_queries(14):
        assert len(send(alice.client, "get", ROOT).json()["results"]) == 8


def test_answers_are_as_described(alice: Person, admin_sql: SQL) -> None:
    schema = read_schema()
    one = "/api/v1/conversations/{conversation}"
    turn = begin(alice)
    id = turn["conversation"]["id"]

    def look(method: str, path: str, body: Any = None, *, end: str = "") -> Any:
        filled = path.replace("{conversation}", id).replace("{message}", turn["said"]["id"])
        answer = send(alice.client, method, filled + end, body)
        check(schema, method, path, answer)
        return answer

    look("post", ROOT, {"text": "x"})
    look("post", ROOT, {"unheard": "of"})
    look("get", ROOT)
    look("get", ROOT, end="?q=" + "x" * 201)
    look("get", one)
    look("get", f"{one}/messages")
    look("post", f"{one}/messages", {"text": "too early"})
    look("post", f"{one}/stop", {})
    look("post", f"{one}/answer", {})
    look("get", f"{one}/events")
    finish(admin_sql, turn)
    admin_sql.execute("UPDATE generation_message SET status = 'done', tokens_in = 1, tokens_out = 2, total_ms = 3")
    look("get", f"{one}/messages")
    look("post", f"{one}/messages", {"text": "x"})
    look("post", f"{one}/stop", {})
    look("put", "/api/v1/messages/{message}", {"text": "x"})
    look("patch", one, {"title": "x"})
    look("patch", one, {"title": ""})
    look("post", PRESETS, {"name": "x", "text": "y"})
    look("post", PRESETS, {"name": "x", "text": "y"})
    look("get", PRESETS)
    look("delete", one)
    look("get", one)
