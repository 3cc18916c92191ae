"""The chat page as the server writes it, and the files of conversations."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import psycopg
import pytest
from django.test import Client
from redis import Redis

from accounts.enums import Role
from generation.chat.breaker import KEY
from generation.models import ChatModel
from tests.factories import Person, make_member
from tests.qwenstudio.talking import begin, offer_chat

SQL = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def _model(db: object) -> None:
    ChatModel.objects.create(slug="talker", title="Talker")


def page(person: Person, path: str = "/chat/") -> str:
    answer = person.client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def listed(text: str) -> list[str]:
    """The titles in the list."""
    part = text.partition('id="talks"')[2].partition("</ul>")[0]
    return [html.unescape(found) for found in re.findall(r"<a [^>]*>([^<]*)</a>", part)]


def snapshot(text: str) -> Any:
    return json.loads(re.search(r'id="snapshot"[^>]*>(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]


def content(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def test_what_the_page_begins_with(alice: Person, admin_sql: SQL) -> None:
    assert snapshot(page(alice)) == {"conversation": None, "messages": [], "earlier": None}
    hostile = '</script><script>alert(1)</script> "x'
    turn = begin(alice.caller, hostile)
    admin_sql.execute(
        "UPDATE generation_message SET status = 'done', text = %s WHERE id = %s", (hostile, turn.answer.pk)
    )
    text = page(alice, f"/chat/{turn.conversation.pk}/")
    assert listed(text) == [hostile] and "<script>alert" not in text
    found = snapshot(text)
    assert [one["text"] for one in found["messages"]] == [hostile, hostile] and found["earlier"] is None
    assert 'value="talker" selected' in text
    assert snapshot(page(alice))["conversation"] is None, "the page of a new one"


def test_search_and_older_ones(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.web.chat.LISTED", 2)
    for name in ("a boat", "a house", "a tree"):
        begin(alice.caller, name)
    text = page(alice)
    assert listed(text) == ["a tree", "a house"]
    older = html.unescape(re.search(r'href="(\?before=[^"]+)"', text)[1])  # type: ignore[index]
    assert listed(page(alice, f"/chat/{older}")) == ["a boat"]
    assert listed(page(alice, "/chat/?q=house")) == ["a house"]
    assert "Nothing found." in page(alice, "/chat/?q=nowhere")
    assert listed(page(alice, "/chat/?before=nonsense")) == ["a tree", "a house"]


def test_the_end_of_a_long_one(alice: Person, admin_sql: SQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.web.chat.SHOWN", 1)
    turn = begin(alice.caller, "first")
    found = snapshot(page(alice, f"/chat/{turn.conversation.pk}/"))
    assert [one["place"] for one in found["messages"]] == [1] and found["earlier"]


def test_files(alice: Person, bob: Person, admin_sql: SQL) -> None:
    turn = begin(alice.caller, "Why?", system="Be short.")
    admin_sql.execute("UPDATE generation_message SET status = 'done', text = 'So.' WHERE id = %s", (turn.answer.pk,))
    begin(bob.caller, "Bob's own")
    root = f"/chat/{turn.conversation.pk}"
    answer = alice.client.get(f"{root}/file.md")
    assert answer["Content-Disposition"].startswith("attachment; ") and answer["Content-Type"].startswith(
        "text/markdown"
    )
    assert re.fullmatch(
        r"# Why\?\n\n\d{4}-.* UTC\n\n## System\n\nBe short.\n\n## You\n\nWhy\?\n\n## talker\n\nSo.\n", content(answer)
    )
    one = json.loads(content(alice.client.get(f"{root}/file.json")))
    assert (one["title"], [m["text"] for m in one["messages"]]) == ("Why?", ["Why?", "So."])
    lines = content(alice.client.get("/chat/all.jsonl")).splitlines()
    assert [json.loads(line) for line in lines] == [one]
    for path in (f"{root}/", f"{root}/file.md", f"{root}/file.json"):
        assert bob.client.get(path).status_code == 404


def test_a_viewer_is_told_whom_to_ask(alice: Person) -> None:
    viewer = Client()
    viewer.force_login(make_member(alice.tenant, Role.VIEWER))
    text = viewer.get("/chat/").content.decode()
    assert "You are a viewer here" in text and "chatbox" not in text
    assert viewer.get("/chat/all.jsonl").status_code == 403


def test_without_a_model(alice: Person) -> None:
    ChatModel.objects.update(enabled=False)
    assert "No chat model yet" in page(alice)


def first_questions(person: Person) -> tuple[str, str]:
    """What the page shows to begin with, and what it keeps hidden for another model."""
    parts = re.findall(r"<div data-first([^>]*)>(.*?)</div>(.*?)</div>", page(person), re.DOTALL)
    shown, hidden = (
        [body + foot for mark, body, foot in parts if ("hidden" in mark) is hides] for hides in (False, True)
    )
    assert (len(shown), len(hidden)) == (1, 1)
    return shown[0], hidden[0]


def test_the_first_questions_fit_the_first_model(alice: Person) -> None:
    row = ChatModel.objects.get(slug="talker")
    general, for_the_demo = first_questions(alice)
    assert "rainbow" in general and "The demo model is tiny" in for_the_demo
    ChatModel.objects.create(slug="demo-chat", title="Demo model", position=row.position + 1)
    assert first_questions(alice) == (general, for_the_demo), "a true model goes before it"
    row.enabled = False
    row.save()
    shown, hidden = first_questions(alice)
    assert "The demo model is tiny" in shown and "something red and round" in shown and "rainbow" not in shown
    assert "rainbow" in hidden, "for whoever chooses another"


def test_it_begins_with_a_model_that_can_be_believed_to_answer(alice: Person, redis: Redis) -> None:
    """One that is away stays where it is in the list; a conversation keeps its own."""
    ChatModel.objects.update(enabled=False)
    for port in (1, 2):
        offer_chat(port, slug=f"model-{port}", position=port)
    ChatModel.objects.create(slug="model-0", title="Without an upstream", position=0)

    def chosen(path: str) -> list[str]:
        text = page(alice, path)
        assert re.findall(r'<option value="(model-.)"', text) == ["model-0", "model-1", "model-2"]
        return re.findall(r'<option value="(model-.)" selected', text)

    begun = begin(alice.caller, "Hello", model="model-1").conversation.pk
    assert chosen("/chat/") == chosen("/sentiment/") == ["model-1"]
    redis.hset(KEY + "at-1", "open_until", 1)  # half open: nobody has had an answer since
    assert chosen("/chat/") == chosen("/sentiment/") == ["model-2"]
    assert chosen(f"/chat/{begun}/") == ["model-1"]
    redis.hset(KEY + "at-2", "open_until", 2**50)
    assert chosen("/chat/") == ["model-0"], "none is better"
    redis.delete(KEY + "at-1", KEY + "at-2")
    assert chosen("/chat/") == ["model-1"]
