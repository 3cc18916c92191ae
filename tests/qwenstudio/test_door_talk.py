"""The stream of a conversation's answer: begun by whoever looks, followed by any number, lost by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from django.db import connections

from generation.models import ChatModel
from qwenstudio.door import answering as answering_module
from qwenstudio.door import chatwatch as chatwatch_module
from qwenstudio.door.app import Door
from tests.factories import Person
from tests.generation.chat.scripted import Script, Served, Wire, event, hello, serving
from tests.qwenstudio.doors import pass_cookie, running_door
from tests.qwenstudio.exchange import PATIENCE_S
from tests.qwenstudio.talking import (
    add,
    begin,
    in_steps,
    in_thread,
    message,
    offer_chat,
    stop,
    text_of,
    watch,
    watching,
)

SQL = psycopg.Connection[tuple[Any, ...]]
Scene = Callable[[Door, Served], Awaitable[None]]


def play(scene: Scene, script: Script = hello, **model: Any) -> None:
    """A scene with a door over the tables, and an upstream."""

    async def run() -> None:
        async with serving(script) as served:
            await in_thread(offer_chat, served.port, **model)
            async with running_door() as door:
                await scene(door, served)
        await in_thread(connections.close_all)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_an_answer_from_its_first_word_to_its_row(alice: Person, admin_sql: SQL) -> None:
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        turn = await in_thread(begin, alice.caller, "hi", system="Be short.")
        seen = await watch(door, cookie, turn.conversation.pk)
        assert (seen.status, seen.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        events = seen.events
        assert events[0]["event"] == "answer" and events[-1]["event"] == "end"
        assert text_of(events) == "Hello world" and events[-1]["data"]["status"] == "done"
        assert events[-1]["data"]["tokens"] == {"prompt": 7, "answer": 2}
        assert served.asked[0].json["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "hi"},
        ]
        row = await in_thread(message, alice.caller, turn.answer.pk)
        assert (row.status, row.text, row.finish, row.folded) == ("done", "Hello world", "stop", "hello world")
        assert (row.fence, row.attempt, row.lease_until, row.tokens_out) == (1, 1, None, 2)
        further = await in_thread(add, alice.caller, turn.conversation.pk, "and now?")
        await watch(door, cookie, further.conversation.pk)
        assert [one["role"] for one in served.asked[1].json["messages"]] == ["system", "user", "assistant", "user"]

    play(scene)
    calls = admin_sql.execute('SELECT outcome, "user", key, tokens_in, tokens_out, prompt FROM generation_chatcall')
    assert calls.fetchall() == [("done", alice.user.pk, None, 7, 2, None)] * 2
    (used,) = admin_sql.execute("SELECT sum(amount) FROM accounts_ledgerentry WHERE metric = 'tokens'").fetchone() or ()
    assert used == 18


def test_a_reload_in_the_middle_loses_nothing(alice: Person) -> None:
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        gate = asyncio.Event()
        served.script = in_steps("One ", "two ", "three", gates={2: gate})
        turn = await in_thread(begin, alice.caller, "count")
        first = watching(cookie, turn.conversation.pk)
        task = asyncio.create_task(first.run(door))
        await first.until(b"two ")
        first.left.set()
        await asyncio.wait_for(task, PATIENCE_S)
        at = first.events[-1]["id"]
        again, resumed = watching(cookie, turn.conversation.pk), watching(cookie, turn.conversation.pk, after=at)
        tasks = [asyncio.create_task(one.run(door)) for one in (again, resumed)]
        await again.until(b"One two ")
        gate.set()
        await asyncio.gather(*tasks)
        assert again.events[0]["event"] == "answer" and text_of(again.events) == "One two three"
        assert "answer" not in [one["event"] for one in resumed.events], (at, resumed.events)
        assert "".join(one["data"]["text"] for one in resumed.events if one["event"] == "piece") == "three"
        assert len(served.asked) == 1, "asked once, whoever looks"
        late = await watch(door, cookie, turn.conversation.pk)
        assert [one["event"] for one in late.events] == ["end"] and text_of(late.events) == "One two three"

    play(scene)


def test_two_processes_one_answer(alice: Person) -> None:
    """Each door is a process of its own to the other: the second reads the row."""
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        gate = asyncio.Event()
        served.script = in_steps("One ", "two", gates={1: gate})
        turn = await in_thread(begin, alice.caller, "count")
        async with running_door() as other:
            here, there = watching(cookie, turn.conversation.pk), watching(cookie, turn.conversation.pk)
            tasks = [asyncio.create_task(here.run(door)), asyncio.create_task(there.run(other))]
            await asyncio.gather(here.until(b"One "), there.until(b"One "))
            gate.set()
            await asyncio.gather(*tasks)
        assert text_of(here.events) == text_of(there.events) == "One two"
        assert len(served.asked) == 1

    play(scene)


def test_stop_keeps_what_there_is(alice: Person, admin_sql: SQL) -> None:
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        served.script = in_steps("One ", "two", gates={1: asyncio.Event()})
        turn = await in_thread(begin, alice.caller, "count")
        seen = watching(cookie, turn.conversation.pk)
        task = asyncio.create_task(seen.run(door))
        await seen.until(b"One ")
        await in_thread(stop, alice.caller, turn.conversation.pk)
        await asyncio.wait_for(task, PATIENCE_S)
        assert (seen.events[-1]["event"], seen.events[-1]["data"]["status"]) == ("end", "stopped")
        row = await in_thread(message, alice.caller, turn.answer.pk)
        assert (row.status, row.text, row.finish) == ("stopped", "One ", "stopped")

    play(scene)
    assert admin_sql.execute("SELECT outcome FROM generation_chatcall").fetchall() == [("client_gone",)]


def test_nobody_looks_any_more(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering_module, "UNWATCHED_S", 0.1)
    monkeypatch.setattr(answering_module, "STORE_EVERY_S", 0.1)
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        served.script = in_steps("One ", "two", gates={1: asyncio.Event()})
        turn = await in_thread(begin, alice.caller, "count")
        seen = watching(cookie, turn.conversation.pk)
        task = asyncio.create_task(seen.run(door))
        await seen.until(b"One ")
        seen.left.set()
        await task
        while (row := await in_thread(message, alice.caller, turn.answer.pk)).status == "running":
            await asyncio.sleep(0.05)
        assert (row.status, row.text, row.finish) == ("stopped", "One ", "unwatched")

    play(scene)


def lose(sql: SQL, id: object, *, text: str) -> None:
    """As a process leaves it that dies."""
    sql.execute(
        "UPDATE generation_message SET status = 'running', fence = 1, attempt = 1, text = %s, "
        "lease_until = now() - interval '1 second' WHERE id = %s",
        (text, id),
    )


@pytest.mark.parametrize("text", ["", "Half a"])
def test_a_process_that_died(text: str, alice: Person, admin_sql: SQL) -> None:
    """Without a word it is begun anew; what somebody may have read ends as it is."""
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        turn = await in_thread(begin, alice.caller, "count")
        await in_thread(lose, admin_sql, turn.answer.pk, text=text)
        seen = await watch(door, cookie, turn.conversation.pk)
        end = seen.events[-1]["data"]
        row = await in_thread(message, alice.caller, turn.answer.pk)
        assert row.fence == 2
        if text:
            assert (end["status"], end["text"], end["error"]["code"]) == ("broken", "Half a", "answer_lost")
            assert not served.asked
        else:
            assert (end["status"], end["text"], len(served.asked)) == ("done", "Hello world", 1)

    play(scene)


def test_a_writer_that_lost_its_lease_writes_no_more(alice: Person, admin_sql: SQL) -> None:
    """Somebody else has claimed the answer: what the first has is not written over theirs."""
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        served.script = in_steps("One ", "two", gates={1: asyncio.Event()})
        turn = await in_thread(begin, alice.caller, "count")
        seen = watching(cookie, turn.conversation.pk)
        task = asyncio.create_task(seen.run(door))
        await seen.until(b"One ")
        await in_thread(
            admin_sql.execute,
            "UPDATE generation_message SET fence = 2, text = 'Theirs', status = 'done', ended_at = now(), "
            "lease_until = NULL WHERE id = %s",
            (turn.answer.pk,),
        )
        await asyncio.wait_for(task, PATIENCE_S)
        assert seen.events[-1]["event"] == "end" and seen.events[-1]["data"]["text"] == "Theirs"
        assert (await in_thread(message, alice.caller, turn.answer.pk)).text == "Theirs"

    play(scene)


def test_what_refuses_it_is_told_and_kept(alice: Person) -> None:
    """The guard of chat stands before it too: here the words are more than the model takes by now."""
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        turn = await in_thread(begin, alice.caller, "hi" * 100)
        await in_thread(ChatModel.objects.update, max_prompt_chars=50)
        seen = await watch(door, cookie, turn.conversation.pk)
        end = seen.events[-1]["data"]
        assert (end["status"], end["error"]["code"]) == ("failed", "invalid_request")
        assert "prompt too long, max 50 chars" in end["error"]["message"] and not served.asked

    play(scene)


def test_an_upstream_that_breaks_off(alice: Person) -> None:
    cookie = pass_cookie(alice)

    async def scene(door: Door, served: Served) -> None:
        async def breaks(wire: Wire) -> None:
            await wire.head()
            await wire.chunk(event({"content": "Half"}))
            raise ConnectionError

        served.script = breaks
        turn = await in_thread(begin, alice.caller, "hi")
        end = (await watch(door, cookie, turn.conversation.pk)).events[-1]["data"]
        assert (end["status"], end["text"]) == ("broken", "Half") and end["error"]["code"] == "chat_broken"

    play(scene)


def test_whose_stream_it_is(alice: Person, bob: Person, mallory: Person) -> None:
    cookies = [pass_cookie(one) for one in (bob, mallory)]

    async def scene(door: Door, served: Served) -> None:
        turn = await in_thread(begin, alice.caller, "hi")
        for cookie in cookies:
            seen = await watch(door, cookie, turn.conversation.pk)
            assert (seen.status, seen.json["code"]) == (404, "not_found")
        assert not served.asked and (await in_thread(message, alice.caller, turn.answer.pk)).status == "waiting"

    play(scene)


def test_a_server_that_stops(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has written so far stays, and says that it broke off."""
    monkeypatch.setattr(chatwatch_module, "CLOSING_S", 0.3)
    cookie = pass_cookie(alice)
    answer = []

    async def scene(door: Door, served: Served) -> None:
        served.script = in_steps("One ", "two", gates={1: asyncio.Event()})
        turn = await in_thread(begin, alice.caller, "count")
        answer.append(turn.answer.pk)
        seen = watching(cookie, turn.conversation.pk)
        task = asyncio.create_task(seen.run(door))
        await seen.until(b"One ")
        await door.stop()
        await asyncio.wait_for(task, PATIENCE_S)

    play(scene)
    row = message(alice.caller, answer[0])
    assert (row.status, row.text) == ("broken", "One ")
