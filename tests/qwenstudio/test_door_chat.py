"""Chat through the door: who is let in and in which order, what comes back, and how a call ends."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from psycopg import OperationalError
from redis import Redis

from accounts.domain.callers import Caller
from accounts.domain.keys import revoke_key
from accounts.domain.tenants import suspend_tenant
from accounts.enums import Scope
from accounts.models import ApiKey, AuditEvent, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.chat.filters.rules import REDACTED, Rule
from generation.chat.reader import read_chat
from qwenstudio.door import callers, chat, chatanswers, chatguard, chatwatch
from qwenstudio.door.app import Door
from qwenstudio.door.callers import Callers, Credential
from tests.factories import Person, make_key, make_plan
from tests.generation.chat.scripted import (
    DONE,
    HELLO,
    IMPATIENT,
    Script,
    Served,
    Wire,
    event,
    hang,
    hello,
    serving,
    status,
)
from tests.openapi import check_door
from tests.qwenstudio.doors import running_door
from tests.qwenstudio.exchange import PATIENCE_S, Exchange, make_scope
from tests.qwenstudio.memorybooks import MemoryBooks
from tests.qwenstudio.test_door_streams import NOBODY, in_thread

PATH = "/v1/chat/completions"
HI = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
SIX = {f"x-ratelimit-{kind}-{what}" for kind in ("limit", "remaining", "reset") for what in ("requests", "tokens")}
Scene = Callable[[Door, MemoryBooks, Served], Awaitable[None]]


@pytest.fixture
def key(alice: Person) -> tuple[ApiKey, str]:
    """A key of Alice's that may chat."""
    return make_key(alice.tenant, alice.user, scopes=[Scope.CHAT.value])


@pytest.fixture
def secret(key: tuple[ApiKey, str]) -> str:
    return key[1]


def play(scene: Scene, script: Script = hello, **offer: Any) -> None:
    """A scene with a door, books in memory and an upstream."""

    async def run() -> None:
        async with serving(script) as served:
            books = MemoryBooks(served.offer(**offer))
            async with running_door(books=books) as door:
                await scene(door, books, served)
            assert not books.reserved, "a call was not settled"
        await in_thread(connections.close_all)

    asyncio.run(run())


def asking(secret: str | None, body: Any = HI, *, method: str = "POST", path: str = PATH, **headers: str) -> Exchange:
    """A request; `body` is JSON or bytes."""
    given = {"Content-Type": "application/json", **({"Authorization": f"Bearer {secret}"} if secret else {}), **headers}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given.setdefault("Content-Length", str(len(content)))
    return Exchange(make_scope(method, path, headers=given), body=content)


async def ask(door: Door, secret: str | None, body: Any = HI, **more: Any) -> Exchange:
    """A request, answered to the end."""
    return await asyncio.wait_for(asking(secret, body, **more).run(door), PATIENCE_S)


def chunks(exchange: Exchange) -> list[Any]:
    """The chunks of a stream that has come to its end."""
    parts = exchange.received.decode().split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""], parts[-3:]
    found = [json.loads(part.removeprefix("data: ")) for part in parts[:-2] if not part.startswith(":")]
    for one in found:
        ChatCompletionChunk.model_validate(one)
    return found


def words(found: list[Any]) -> str:
    return "".join(one["choices"][0]["delta"].get("content", "") for one in found if one["choices"])


# ---- answers


def test_a_whole_answer(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, {**HI, "temperature": 0.5, "api_base": "http://evil"}, **{"X-Evil": "1"})
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        found = answer.json
        ChatCompletion.model_validate(found)
        check_door(PATH, found)
        assert found["choices"][0]["message"]["content"] == "Hello world"
        assert (found["model"], found["usage"]["total_tokens"], found["id"][:9]) == ("chat", 9, "chatcmpl-")
        assert found["system_fingerprint"] == "qs-blue"
        assert answer.headers.keys() >= SIX and answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"] and "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["ratelimit"].startswith('"chat_requests_per_minute";r=29;')
        names = [name for name, _ in answer.messages[0]["headers"]]
        assert len(names) == len(set(names)), "each header once"
        (asked,) = served.asked
        assert asked.json == {
            "model": "theirs",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "max_tokens": 4096,
        }
        assert asked.headers.keys() == {"host", "accept-encoding", "content-length", "content-type", "accept"}
        ((reservation, record),) = books.settled
        assert (record.outcome, record.tokens_in, record.tokens_out, books.used) == ("done", 7, 2, 9)
        assert reservation.tokens == record.prompt_estimate + 512

    play(scene)


def test_a_stream(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, {**HI, "stream": True, "stream_options": {"include_usage": True}})
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["x-accel-buffering"] == "no"
        found = chunks(answer)
        assert words(found) == "Hello world" and found[-1]["usage"]["total_tokens"] == 9
        assert found[-2]["choices"][0]["finish_reason"] == "stop"
        assert {one["model"] for one in found} == {"chat"} and b"theirs" not in answer.received
        plain = await ask(door, secret, {**HI, "stream": True})
        assert all("usage" not in one for one in chunks(plain))

    play(scene)


def test_words_come_as_they_are_made(secret: str, redis: Redis) -> None:
    go = asyncio.Event

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        gate = go()

        async def run(wire: Wire) -> None:
            await wire.head()
            await wire.chunk(HELLO[1])
            await gate.wait()
            await wire.chunk(b"".join(HELLO[2:]))
            await wire.chunk(b"")

        served.script = run
        exchange = asking(secret, {**HI, "stream": True})
        task = asyncio.create_task(exchange.run(door))
        await exchange.until(b"Hello")
        assert b"world" not in exchange.received and not books.settled
        gate.set()
        await asyncio.wait_for(task, PATIENCE_S)
        assert words(chunks(exchange)) == "Hello world"

    play(scene)


def test_calls_of_tools(secret: str, redis: Redis) -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in"'}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]

    async def run(wire: Wire) -> None:
        await wire.stream(
            event({"tool_calls": [first]}),
            event({"tool_calls": [{"index": 0, "function": {"arguments": ': "Bonn"}'}}]}),
            event({}, "tool_calls"),
            DONE,
        )

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        choice = (await ask(door, secret, {**HI, "tools": tools})).json["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"in": "Bonn"}'}

    play(scene, run)


def test_rules_for_answers(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        books.rules = (Rule("word", "redact", "hello"),)
        assert words(chunks(await ask(door, secret, {**HI, "stream": True}))) == f"{REDACTED} world"
        books.rules = (Rule("word", "stop", "world"),)
        found = chunks(await ask(door, secret, {**HI, "stream": True}))
        assert words(found) == "Hello " and found[-1]["choices"][0]["finish_reason"] == "content_filter"
        whole = (await ask(door, secret)).json["choices"][0]
        assert (whole["message"]["content"], whole["finish_reason"]) == ("Hello ", "content_filter")
        assert [record.outcome for _, record in books.settled] == ["done", "stopped", "stopped"]

    play(scene)


# ---- the guard, in its order; nothing that is refused reaches the upstream


def error_of(exchange: Exchange) -> Any:
    return exchange.json["error"]


def test_the_guard(alice: Person, key: tuple[ApiKey, str], redis: Redis, settings: Any) -> None:
    """Each request is wrong in everything that comes after, too: the first fault in the order is told."""
    secret = key[1]
    long = {"model": "nobodys", "messages": [{"role": "user", "content": "x" * 100_000}]}

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        async def refused(secret: str | None, body: Any, wanted: int, code: str, **more: Any) -> Exchange:
            answer = await ask(door, secret, body, **more)
            assert (answer.status, error_of(answer)["code"]) == (wanted, code), answer.received
            assert answer.headers["x-request-id"]
            return answer

        wrong = "qs_live_" + "A" * 30 + "000000"
        await refused(None, long, 401, "not_signed_in")
        await refused(wrong, long, 401, "invalid_api_key")
        settings.STUDIO_NETWORKS = [ipaddress.ip_network("192.0.2.0/24")]
        door.house.callers._kept.clear()
        await refused(secret, long, 403, "not_allowed")
        settings.STUDIO_NETWORKS = []
        await refused(alice.secret, long, 403, "not_allowed")  # without the scope
        await refused(secret, b"x" * 1_048_577, 413, "body_too_large")
        await refused(secret, long, 415, "unsupported_media_type", **{"Content-Type": "text/plain"})
        await refused(secret, b"{", 400, "malformed_json")
        await refused(secret, long, 404, "model_not_found")
        answer = await refused(secret, {**long, "model": "chat"}, 400, "invalid_request")
        assert error_of(answer)["message"] == "prompt too long, max 32768 chars"
        assert error_of(answer)["param"] == "messages"
        assert "x-ratelimit-limit-requests" not in answer.headers  # nothing was counted yet
        books.tokens = 100
        answer = await refused(secret, HI, 429, "insufficient_quota")
        assert answer.headers.keys() >= SIX and answer.headers["retry-after"] == "3600"
        assert not served.asked and not books.settled

    play(scene)


def test_the_thirty_first_request_in_a_minute(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answers = [await ask(door, secret) for _ in range(31)]
        assert [answer.status for answer in answers] == [200] * 30 + [429]
        last = answers[-1]
        assert error_of(last)["code"] == "rate_limit_exceeded" and 0 < int(last.headers["retry-after"]) <= 60
        assert last.headers["ratelimit"].startswith('"chat_requests_per_minute";r=0;t=')
        assert last.headers["x-ratelimit-remaining-requests"] == "0" and last.headers.keys() >= SIX
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:3]] == ["29", "28", "27"]
        assert len(served.asked) == 30

    play(scene)


def test_bodies_that_are_refused_have_a_limit_too(secret: str, redis: Redis) -> None:
    """Reading one may take a fifth of a second of the processor: nobody has that for nothing as often as they like."""

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        unread = [await ask(door, secret, body) for body in [b"{"] * 10 + [{**HI, "model": "x"}] * 10 + [{}] * 10]
        assert {answer.status for answer in unread} == {400, 404}
        last = await ask(door, secret, b"{")
        assert (last.status, error_of(last)["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(last.headers["retry-after"]) <= 60 and not served.asked

    play(scene)


def test_a_large_body_holds_nobody_up(secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def read(body: bytes, **more: Any) -> Any:
        threads.append(threading.get_ident())
        return read_chat(body, **more)

    monkeypatch.setattr(chatguard, "read_chat", read)

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        assert (await ask(door, secret, b'{"a":[' + b"[]," * 300_000 + b"[]]}")).status == 400
        assert (await ask(door, secret)).status == 200
        assert threads[0] != threading.get_ident() == threads[1]

    play(scene)


def test_a_hundred_at_once_are_thirty(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answers = await asyncio.gather(*(ask(door, secret) for _ in range(100)))
        assert sorted(answer.status for answer in answers) == [200] * 30 + [429] * 70

    play(scene, concurrency=100)


def test_a_crowd_waits_behind_itself(secret: str, mallory: Person, redis: Redis) -> None:
    """One place at the server: whoever comes from another organisation is next, not behind all of the crowd."""
    _, other = make_key(mallory.tenant, mallory.user, scopes=[Scope.CHAT.value])
    step = asyncio.Semaphore(0)

    async def stepwise(wire: Wire) -> None:
        await step.acquire()
        await wire.stream(*HELLO)

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        async def until_waiting(number: int) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while door.chat.relay.leases.slots._waiting < number:
                    await asyncio.sleep(0.005)

        crowd = [asyncio.create_task(ask(door, secret, said("crowd"))) for _ in range(5)]
        await until_waiting(4)
        late = asyncio.create_task(ask(door, other, said("late")))
        await until_waiting(5)
        for _ in range(6):
            step.release()
        assert {exchange.status for exchange in await asyncio.gather(*crowd, late)} == {200}
        assert [asked.json["messages"][0]["content"] for asked in served.asked] == ["crowd", "late", *["crowd"] * 4]

    play(scene, stepwise, concurrency=1)


def said(text: str) -> dict[str, Any]:
    return {**HI, "messages": [{"role": "user", "content": text}]}


def test_rates_of_the_key_and_of_the_tenant(alice: Person, secret: str, redis: Redis) -> None:
    with across_tenants():
        plan = make_plan(chat_requests_per_minute=2, tenant_requests_per_minute=3)
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=plan)
    _, other = make_key(alice.tenant, alice.user, scopes=[Scope.CHAT.value])

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        found = [(await ask(door, one)).status for one in (secret, secret, secret, secret, other, other)]
        assert found == [200, 200, 429, 429, 200, 429]  # what a key's own limit refuses is not the tenant's
        assert len(served.asked) == 3

    play(scene)


def test_without_valkey_each_process_counts(secret: str, settings: Any) -> None:
    settings.REDIS_URL = NOBODY

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answers = [await ask(door, secret) for _ in range(32)]
        assert [answer.status for answer in answers] == [200] * 30 + [429] * 2

    play(scene)


def test_another_method(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, method="GET")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")

    play(scene)


def test_a_closed_tenant_is_told(alice: Person, secret: str, redis: Redis) -> None:
    suspend_tenant(alice.tenant, reason="unpaid")

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret)
        assert (answer.status, error_of(answer)["code"]) == (403, "tenant_suspended")
        assert not served.asked

    play(scene)
    with in_tenant(alice.tenant.pk):
        assert AuditEvent.objects.filter(action="denied", target=f"POST {PATH}").count() == 1


# ---- upstreams that fail


def test_a_server_that_does_not_answer(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, {**HI, "stream": True})
        assert (answer.status, error_of(answer)["code"]) == (503, "chat_unavailable")
        assert int(answer.headers["retry-after"]) > 0 and answer.headers.keys() >= SIX
        again = await ask(door, secret)
        assert again.status == 503
        assert len(served.asked) == served.connections == 1  # the breaker is open: nobody was called
        assert [(record.outcome, record.tokens_in) for _, record in books.settled] == [("unavailable", 0)] * 2
        assert books.used == 0

    play(scene, hang, times=IMPATIENT)


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_breaks_off(secret: str, redis: Redis, stream: bool) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret, {**HI, "stream": stream})
        if stream:
            assert answer.status == 200 and b"[DONE]" not in answer.received
            (last,) = answer.events
            assert (last["event"], last["data"]["error"]["code"]) == ("error", "chat_broken")
        else:
            assert (answer.status, error_of(answer)["code"]) == (503, "chat_broken")
        assert [(record.outcome, record.tokens_out) for _, record in books.settled] == [("broken", 2)]

    play(scene, lambda wire: wire.stream(HELLO[1]))


def test_what_the_server_refuses(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answer = await ask(door, secret)
        assert (answer.status, error_of(answer)["code"], error_of(answer)["param"]) == (400, "chat_refused", "messages")

    play(scene, status(400, {"error": {"message": "too long"}}))


# ---- how a call ends


def endless(gone: list[float]) -> Script:
    """Words without end; notes when the client has gone."""

    async def run(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HELLO[1])
        assert await wire.gone(30)
        gone.append(time.monotonic())
        raise ConnectionError

    return run


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves(secret: str, redis: Redis, stream: bool) -> None:
    gone: list[float] = []

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchange = asking(secret, {**HI, "stream": stream})
        task = asyncio.create_task(exchange.run(door))
        while not served.asked:
            await asyncio.sleep(0.01)
        if stream:
            await exchange.until(b"Hello")
        exchange.left.set()
        await asyncio.wait_for(task, PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while not gone:  # by nothing else: the call may be quiet for longer than the upstream waits
                await asyncio.sleep(0.01)
        assert [record.outcome for _, record in books.settled] == ["client_gone"]

    play(scene, endless(gone))


def test_a_client_that_takes_nothing(secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatwatch, "STALL_S", 0.2)
    gone: list[float] = []

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchange = asking(secret, {**HI, "stream": True})
        exchange.stalled = True
        await asyncio.wait_for(exchange.run(door), PATIENCE_S)
        assert [record.outcome for _, record in books.settled] == ["client_gone"]
        while not gone:
            await asyncio.sleep(0.01)

    play(scene, endless(gone))


def test_a_key_that_is_revoked_in_mid_stream(
    alice: Person, key: tuple[ApiKey, str], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within five seconds: what there is between two questions, and for how long an answer is kept."""
    assert chatwatch.RECHECK_S + callers.KEPT_S < 5
    gone: list[float] = []

    def revoke() -> None:
        with in_tenant(alice.tenant.pk):
            revoke_key(by=alice.caller, key_id=key[0].pk)

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchange = asking(key[1], {**HI, "stream": True})
        task = asyncio.create_task(exchange.run(door))
        await exchange.until(b"Hello")
        await in_thread(revoke)
        await asyncio.wait_for(task, PATIENCE_S)  # it measures nothing: a busy machine may take longer
        (last,) = exchange.events
        assert last["data"]["error"]["code"] == "invalid_api_key"
        assert [record.outcome for _, record in books.settled] == ["revoked"]

    play(scene, endless(gone))


def test_whoever_may_not_chat_any_longer_is_ended(
    alice: Person, key: tuple[ApiKey, str], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their key lives on: they were given another role, or it another scope."""
    gone: list[float] = []

    def take_away() -> None:
        with in_tenant(alice.tenant.pk):
            ApiKey.objects.filter(pk=key[0].pk).update(scopes=[Scope.IMAGES_READ.value])

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchange = asking(key[1], {**HI, "stream": True})
        task = asyncio.create_task(exchange.run(door))
        await exchange.until(b"Hello")
        await in_thread(take_away)
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.events[-1]["data"]["error"]["code"] == "not_allowed"
        assert [record.outcome for _, record in books.settled] == ["revoked"]

    play(scene, endless(gone))


def test_a_database_that_is_away_keeps_no_call_waiting(
    secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question would take five seconds: nobody's stream is kept alive meanwhile, and none is ended."""
    asked, gone = 0, []  # type: ignore[var-annotated]

    async def away(self: Callers, credential: Credential) -> Caller:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.5)
        raise OperationalError("away")

    monkeypatch.setattr(chatwatch, "RECHECK_S", 0.4)
    monkeypatch.setattr(chatanswers, "KEEP_ALIVE_S", 0.1)

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchanges = [asking(secret, {**HI, "stream": True}) for _ in range(8)]
        tasks = [asyncio.create_task(exchange.run(door)) for exchange in exchanges]
        for exchange in exchanges:
            await exchange.until(b"Hello")
        monkeypatch.setattr(Callers, "find", away)
        for exchange in exchanges:
            await exchange.until(b": keep-alive")
        assert asked <= 4
        for exchange in exchanges:
            exchange.left.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    play(scene, endless(gone))


def test_a_process_that_ends(secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatwatch, "CLOSING_S", 0.0)
    monkeypatch.setattr(chatwatch, "RECHECK_S", 0.05)
    gone: list[float] = []

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchange = asking(secret, {**HI, "stream": True})
        task = asyncio.create_task(exchange.run(door))
        await exchange.until(b"Hello")
        door.house.hub.begin_close()
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.events[-1]["data"]["error"]["code"] == "studio_stops"
        assert [record.outcome for _, record in books.settled] == ["revoked"]
        late = await ask(door, secret)
        assert (late.status, late.headers["x-should-retry"]) == (503, "true")

    play(scene, endless(gone))


def test_silence_is_kept_alive(secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatwatch, "RECHECK_S", 0.05)
    monkeypatch.setattr(chatanswers, "KEEP_ALIVE_S", 0.1)
    gone: list[float] = []

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        exchange = asking(secret, {**HI, "stream": True})
        task = asyncio.create_task(exchange.run(door))
        await exchange.until(b": keep-alive\n\n: keep-alive\n\n")
        exchange.left.set()
        await asyncio.wait_for(task, PATIENCE_S)

    play(scene, endless(gone))


def test_books_that_fail_do_not_fail_the_answer(secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: MemoryBooks, reservation: Any, record: Any, kept: Any = None) -> None:
        self.reserved.pop(reservation.id)
        raise OSError("the database is away")

    monkeypatch.setattr(MemoryBooks, "settle", broken)

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        assert (await ask(door, secret)).status == 200

    play(scene)


def test_whatever_fails_after_the_reserve_is_settled(
    secret: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place would be held, and its lease renewed, for as long as the process lives."""

    def broken(*anything: Any) -> None:
        raise KeyError("a bug")

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        monkeypatch.setattr(chat, "limit_headers", broken)
        assert (await ask(door, secret)).status == 500
        assert [record.outcome for _, record in books.settled] == ["client_gone"] and not served.asked

    play(scene)


def test_a_models_own_sampling(secret: str, redis: Redis) -> None:
    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        books.offer = replace(books.offer, sampling={"temperature": 0.1}, max_tokens=50, max_prompt_chars=3)
        assert (await ask(door, secret)).status == 200
        assert (served.asked[0].json["temperature"], served.asked[0].json["max_tokens"]) == (0.1, 50)
        long = await ask(door, secret, {**HI, "messages": [{"role": "user", "content": "long"}]})
        assert error_of(long)["message"] == "prompt too long, max 3 chars"

    play(scene)


def test_two_hundred_streams_at_once(alice: Person, secret: str, redis: Redis) -> None:
    with across_tenants():
        plan = make_plan(chat_requests_per_minute=1000, tenant_requests_per_minute=1000)
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=plan)

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        answers = await asyncio.gather(*(ask(door, secret, {**HI, "stream": True}) for _ in range(200)))
        assert all(words(chunks(answer)) == "Hello world" for answer in answers)
        assert len(books.settled) == 200

    play(scene, concurrency=200)
