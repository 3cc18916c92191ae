"""Django behind ASGI: no slow client may hold a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.conf import settings

from qwenstudio.door import bridge as bridge_module
from qwenstudio.door.bridge import ANSWER_BYTES, Bridge
from qwenstudio.door.http import Message
from tests.qwenstudio.exchange import PATIENCE_S, Exchange, make_scope

THREADS = 2


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers what it was asked."""
    body = environ["wsgi.input"].read()
    start_response(
        "200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none")), ("X-Query", environ["QUERY_STRING"])]
    )
    return [body]


def large(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """More than the kernel's buffers, less than `ANSWER_BYTES`."""
    start_response("200 OK", [])
    return [b"x" * 50_000] * 10


def test_slow_uploads_hold_no_thread() -> None:
    async def scene() -> None:
        bridge = Bridge(echo, threads=THREADS)

        async def never() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        slow = [Exchange(make_scope("POST", "/", headers={"content-length": "10"})) for _ in range(20)]
        tasks = [asyncio.create_task(bridge(one.scope, never, one.send)) for one in slow]
        quick = await asyncio.wait_for(Exchange(make_scope("GET", "/")).run(bridge), PATIENCE_S)
        assert quick.status == 200
        for task in tasks:
            task.cancel()

    asyncio.run(scene())


def test_slow_readers_hold_no_thread() -> None:
    async def scene() -> None:
        bridge = Bridge(large, threads=THREADS)
        slow = [Exchange(make_scope("GET", "/"), stalled=True) for _ in range(20)]
        tasks = [asyncio.create_task(one.run(bridge)) for one in slow]
        quick = await asyncio.wait_for(Exchange(make_scope("GET", "/")).run(bridge), PATIENCE_S)
        assert len(quick.received) == 500_000
        for one in slow:
            one.left.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    asyncio.run(scene())


def test_large_answer_waits_for_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the buffer the thread does wait, but not for ever."""
    produced = 0

    def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal produced
        start_response("200 OK", [])
        for _ in range(100):
            produced += 100_000
            yield b"x" * 100_000

    async def scene() -> None:
        monkeypatch.setattr(bridge_module, "STALL_S", 5)
        bridge = Bridge(endless, threads=THREADS)
        stalled = asyncio.create_task(Exchange(make_scope("GET", "/"), stalled=True).run(bridge))
        async with asyncio.timeout(PATIENCE_S):
            while produced <= ANSWER_BYTES:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert produced < 3 * ANSWER_BYTES
        await asyncio.wait_for(stalled, PATIENCE_S)

    asyncio.run(scene())


def test_chunked_body_gets_its_length() -> None:
    async def scene() -> None:
        bridge = Bridge(echo, threads=THREADS)
        parts = [b"one ", b"two"]
        exchange = Exchange(make_scope("POST", "/"))

        async def receive() -> Message:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        await bridge(exchange.scope, receive, exchange.send)
        assert exchange.received == b"one two"
        assert exchange.headers["x-length"] == "7"

    asyncio.run(scene())


@pytest.mark.parametrize("announced", [True, False])
def test_body_over_the_cap_is_not_kept(announced: bool) -> None:
    cap = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    async def scene() -> None:
        bridge = Bridge(echo, threads=THREADS)
        headers = {"content-length": str(cap + 1)} if announced else {}
        exchange = Exchange(make_scope("POST", "/", headers=headers), body=b"x" * (cap + 1))
        await exchange.run(bridge)
        assert exchange.received == b""
        assert int(exchange.headers["x-length"]) > cap  # by which Django's side answers 413

    asyncio.run(scene())


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "headers", "whole"),
    [
        ("POST", "/api/v1/images", {"authorization": "Bearer x"}, True),
        ("POST", "/v1/images/edits", {"x-api-key": "x"}, True),
        ("POST", "/api/v1/inputs", {"cookie": "a=b"}, True),
        ("POST", "/api/v1/images", {}, False),  # of somebody who shows nothing
        ("POST", "/api/v1/images/1/retry", {"authorization": "Bearer x"}, False),
        ("PATCH", "/api/v1/images", {"authorization": "Bearer x"}, False),
    ],
)
def test_bodies_with_pictures_may_be_longer(
    method: str, path: str, headers: dict[str, str], whole: bool, announced: bool
) -> None:
    body = b"x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)

    async def scene() -> None:
        more = {"content-length": str(len(body))} if announced else {}
        exchange = Exchange(make_scope(method, path, headers=headers | more), body=body)
        await exchange.run(Bridge(echo, threads=THREADS))
        assert exchange.received == (body if whole else b"")
        assert int(exchange.headers["x-length"]) == len(body)

    asyncio.run(scene())


def test_few_long_bodies_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait unread, and short ones pass them by."""
    monkeypatch.setattr(bridge_module, "BODY_S", PATIENCE_S)

    async def scene() -> None:
        bridge = Bridge(echo, threads=THREADS)
        asked: list[int] = []

        async def never(number: int) -> Message:
            asked.append(number)
            await asyncio.sleep(PATIENCE_S)
            raise AssertionError("given up before")

        def ask(number: int, length: int) -> asyncio.Task[None]:
            headers = {"authorization": "Bearer x", "content-length": str(length)}
            exchange = Exchange(make_scope("POST", "/api/v1/images", headers=headers))
            return asyncio.create_task(bridge(exchange.scope, lambda: never(number), exchange.send))

        tasks = [ask(number, 2_000_000) for number in range(bridge_module.LARGE_AT_ONCE + 3)]
        while len(asked) < bridge_module.LARGE_AT_ONCE:
            await asyncio.sleep(0.01)
        for _ in range(20):  # whoever may begin has begun
            await asyncio.sleep(0)
        assert sorted(asked) == list(range(bridge_module.LARGE_AT_ONCE))
        short = Exchange(make_scope("POST", "/api/v1/images", headers={"content-length": "2"}), body=b"{}")
        await short.run(bridge)
        assert short.received == b"{}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scene())


def test_client_that_leaves_in_its_body_reaches_nobody() -> None:
    async def scene() -> None:
        called = threading.Event()

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            called.set()
            return echo(environ, start_response)

        bridge = Bridge(application, threads=THREADS)
        exchange = Exchange(make_scope("POST", "/", headers={"content-length": "10"}))
        messages: list[Message] = [
            {"type": "http.request", "body": b"half", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Message:
            return messages.pop(0)

        await bridge(exchange.scope, receive, exchange.send)
        assert not called.is_set()
        assert exchange.messages == []

    asyncio.run(scene())


def test_slow_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "BODY_S", 0.1)

    async def scene() -> None:
        exchange = Exchange(make_scope("POST", "/", headers={"content-length": "10"}))

        async def trickle() -> Message:
            await asyncio.sleep(0.04)
            return {"type": "http.request", "body": b"x", "more_body": True}

        await Bridge(echo, threads=THREADS)(exchange.scope, trickle, exchange.send)
        assert exchange.status == 408
        assert exchange.json["code"] == "body_too_slow"

    asyncio.run(scene())


def test_query_of_raw_bytes_is_quoted() -> None:
    exchange = asyncio.run(Exchange(make_scope("GET", "/", query=b"q=\xe4&a=%20")).run(Bridge(echo, threads=THREADS)))
    assert exchange.headers["x-query"] == "q=%E4&a=%20"


def test_named_file_is_sent_by_the_server() -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert environ["studio.sendfile"]
        start_response("200 OK", [("X-Studio-Sendfile", "/some/file"), ("Content-Length", "5")])
        return [b""]

    scope = make_scope("GET", "/", extensions={"http.response.pathsend": {}})
    exchange = asyncio.run(Exchange(scope).run(Bridge(application, threads=THREADS)))
    assert "x-studio-sendfile" not in exchange.headers
    assert exchange.messages[1:] == [{"type": "http.response.pathsend", "path": "/some/file"}]


def test_reader_that_is_too_slow_for_the_size_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece in time, the whole never: the thread behind it is let go."""
    sent = threading.Event()

    def huge(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        for _ in range(200):
            yield b"x" * 50_000
        sent.set()

    async def scene() -> None:
        monkeypatch.setattr(bridge_module, "STALL_S", 0.4)
        bridge = Bridge(huge, threads=THREADS)
        exchange = Exchange(make_scope("GET", "/"))

        async def trickle(message: Message) -> None:
            await asyncio.sleep(0.05)  # a megabyte a second: the answer would hold its thread for nine
            await exchange.send(message)

        await asyncio.wait_for(bridge(exchange.scope, exchange.receive, trickle), PATIENCE_S)
        assert sent.is_set()
        assert len(exchange.received) < 200 * 50_000

    asyncio.run(scene())


def test_header_names_that_wsgi_would_mix_up_are_dropped() -> None:
    seen: dict[str, Any] = {}

    def look(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return [b""]

    async def scene() -> None:
        headers = {"x_forwarded_for": "6.6.6.6", "x-forwarded-for": "10.0.0.1"}
        await Exchange(make_scope("GET", "/", headers=headers)).run(Bridge(look, threads=THREADS))
        assert seen["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"

    asyncio.run(scene())
