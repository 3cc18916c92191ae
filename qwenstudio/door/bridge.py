"""Calls Django (WSGI) from the async server, in a bounded number of threads.

A thread is held only while Django works: the request's body is read before, and the answer is taken off its hands
before a slow client has read it. Without that, as many slow clients as there are threads would stop every page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from a2wsgi import WSGIMiddleware
from django.conf import settings

from qwenstudio.door.http import Headers, Message, Receive, Request, Scope, Send, read_request, send_problem

log = logging.getLogger(__name__)

BODY_S = 30.0  # a body that takes longer is not read to its end
LARGE_AT_ONCE = 4  # bodies with pictures, each in memory until Django has answered: 128 MB; others wait unread
STALL_S = 30.0  # a client that reads nothing for so long is given up
SMALL_BODY = 131_072
CREDENTIALS = (b"authorization", b"x-api-key", b"cookie")
ANSWER_BYTES = 1_048_576  # of one answer in memory; files are sent by the server from their path
SENDFILE = b"x-studio-sendfile"  # Django's view names a file, the server sends it (`generation/web/files.py`)
PATHSEND = "http.response.pathsend"

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ClientGone(Exception):
    """The client left before its request was complete."""


class BodyTooSlow(Exception):
    """The body did not arrive within `BODY_S`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of Django's."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes:
        """The value of a header (lower-case name), or nothing."""
        return next((value for key, value in self.headers if key == name), b"")


class Bridge:
    """Django behind ASGI."""

    def __init__(self, application: WsgiApplication, *, threads: int) -> None:
        self._application = application
        self._wsgi = WSGIMiddleware(self._call, workers=threads)  # type: ignore[arg-type]
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        # A hundred submits that want to wait arrive at once: pages need not stand in line behind them.
        self._asking = asyncio.Semaphore(max(1, threads // 4))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a client."""
        try:
            async with self._room_for(scope):
                await self._answer(scope, receive, send)
        except ClientGone:
            return
        except BodyTooSlow:
            await send_too_slow(send, read_request(scope))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope, body = await read_body(scope, receive)
        outbox = Outbox(send, can_send_files=PATHSEND in (scope.get("extensions") or {}))
        pump = asyncio.create_task(outbox.pump())
        try:
            await self._wsgi(scope, _deliver(body), outbox.put)  # type: ignore[arg-type]
            outbox.close()
            await pump
        finally:
            pump.cancel()

    async def ask(self, scope: Scope, receive: Receive) -> Answer:
        """Let Django answer, and take the answer instead of sending it; in a quarter of the threads at most.

        Raises `ClientGone`, `BodyTooSlow`.
        """
        parts: list[Message] = []

        async def collect(message: Message) -> None:
            parts.append(message)

        async with self._room_for(scope):
            scope, body = await read_body({**scope, "studio.inner": True}, receive)
            async with self._asking:
                await self._wsgi(scope, _deliver(body), collect)  # type: ignore[arg-type]
        start = parts[0]
        return Answer(
            status=start["status"],
            headers=list(start["headers"]),
            body=b"".join(part.get("body", b"") for part in parts[1:]),
        )

    @asynccontextmanager
    async def _room_for(self, scope: Scope) -> AsyncIterator[None]:
        """A place among those whose bodies may be large; everybody else needs none. Raises `BodyTooSlow`."""
        if cap_of(scope) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE or declared_length(scope) in range(SMALL_BODY + 1):
            yield
            return
        try:
            async with asyncio.timeout(BODY_S):
                await self._large.acquire()
        except TimeoutError:
            raise BodyTooSlow from None
        try:
            yield
        finally:
            self._large.release()

    def close(self) -> None:
        """Let the threads go; a request in one of them is finished first."""
        self._wsgi.executor.shutdown(wait=False)

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        scope = environ["asgi.scope"]
        environ["studio.request_id"] = scope.get("studio.request_id")
        environ["studio.inner"] = scope.get("studio.inner", False)  # asked by the door, not by a client
        environ["studio.sendfile"] = PATHSEND in (scope.get("extensions") or {})
        return self._application(environ, start_response)


async def read_body(scope: Scope, receive: Receive) -> tuple[Scope, bytes]:
    """The request's whole body, and the scope with its true length.

    A body over the cap is not read: Django gets its length and answers 413. Django takes a chunked body (one without
    a length) for an empty one, so the length is always written.
    """
    cap, declared = cap_of(scope), declared_length(scope)
    body = b""
    length = declared or 0
    if declared is None or length <= cap:
        body, length = await collect_body(receive, cap)
    # WSGI writes `x_forwarded_for` and `x-forwarded-for` into one variable: only the second is a proxy's word.
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length" and b"_" not in name]
    if declared is not None or length:
        headers.append((b"content-length", str(length).encode()))
    query = quote(scope["query_string"], safe="%!$&'()*+,;=:@/?-._~[]{}|\\^`\"<> ").encode()
    return {**scope, "headers": headers, "query_string": query}, body


def cap_of(scope: Scope) -> int:
    """The longest body that is read: more where pictures are sent, by somebody who shows a credential."""
    small: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if scope.get("method") != "POST" or scope.get("path") not in settings.PICTURE_BODY_PATHS:
        return small
    shows = any(name in CREDENTIALS for name, _ in scope["headers"])
    return int(settings.PICTURE_BODY_BYTES) if shows else small


def declared_length(scope: Scope) -> int | None:
    """The length that the client announces; None where it sends pieces."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), None)
    return None if value is None else int(value)


async def collect_body(receive: Receive, cap: int) -> tuple[bytes, int]:
    """The body and its length; one over the cap is given up there. Raises `ClientGone`, `BodyTooSlow`."""
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                length += len(parts[-1])
                if length > cap:
                    return b"", length
                if not message.get("more_body", False):
                    return b"".join(parts), length
    except TimeoutError:
        raise BodyTooSlow from None


async def send_too_slow(send: Send, request: Request) -> None:
    """The answer to `BodyTooSlow`; what still comes of the body is no next request."""
    detail = f"the body took longer than {BODY_S:g} s"
    await send_problem(send, request, 408, code="body_too_slow", detail=detail, headers=[(b"connection", b"close")])


def _deliver(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class Outbox:
    """Takes an answer from Django's thread and sends it at the client's speed.

    `put` never raises and blocks only while more than `ANSWER_BYTES` wait; a client that has left or stalled is
    remembered, and what comes for it is dropped.
    """

    def __init__(self, send: Send, *, can_send_files: bool) -> None:
        self._send = send
        self._can_send_files = can_send_files
        self._waiting: deque[Message | None] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()
        self._arrived = asyncio.Event()
        self._patience_s = STALL_S  # for the whole answer: while Django waits, one of its threads is held
        self.gone = False

    async def put(self, message: Message) -> None:
        """One message of Django's answer."""
        while self._bytes > ANSWER_BYTES and not self.gone:
            await self._wait_for_room()
        if not self.gone:
            self._add(message)

    async def _wait_for_room(self) -> None:
        self._moved.clear()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                await self._moved.wait()
        except TimeoutError:
            log.info("answer given up: its client is too slow for its size")
            self.gone = True
        self._patience_s = max(0.0, self._patience_s - (time.monotonic() - began))

    def close(self) -> None:
        """No more messages come."""
        self._add(None)

    async def pump(self) -> None:
        """Send what was put, until closed."""
        while (message := await self._take()) is not None:
            if self.gone:
                continue
            try:
                async with asyncio.timeout(STALL_S):
                    await self._forward(message)
            except Exception as error:  # whatever the server raises for a client that has left
                log.debug("client gone: %r", error)
                self.gone = True
            self._moved.set()

    def _add(self, message: Message | None) -> None:
        self._bytes += len(message.get("body", b"")) if message else 0
        self._waiting.append(message)
        self._arrived.set()

    async def _take(self) -> Message | None:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        message = self._waiting.popleft()
        self._bytes -= len(message.get("body", b"")) if message else 0
        return message

    async def _forward(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            await self._send(message)
            return
        path = next((value for name, value in message["headers"] if name == SENDFILE), None)
        if path is None:
            await self._send(message)
            return
        headers = [(name, value) for name, value in message["headers"] if name != SENDFILE]
        await self._send({**message, "headers": headers})
        await self._send({"type": PATHSEND, "path": path.decode()})
        self.gone = True  # the server sends the rest; Django's empty body must not follow
