"""The pool: one for each process. It sends a request and hands out the answer as it comes.

A connection is kept for `KEPT_S` between two requests, less than the five seconds after which uvicorn closes one (vLLM
and `transformers serve` run on it), so that hardly ever both sides use it at the same moment. A kept one that has ended
is dropped before anything is sent on it; once a request is sent the client repeats nothing: that is the relay's matter.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from generation.chat.wire.addresses import resolve
from generation.chat.wire.body import body_of
from generation.chat.wire.bounds import ANSWER_BYTES, HEAD_BYTES, Times
from generation.chat.wire.connection import Connection, connect
from generation.chat.wire.errors import BrokenOff, CannotConnect, Malformed, TookTooLong, TooLarge, WireError
from generation.chat.wire.head import Head, read_head

KEPT_S = 4.0
KEPT_EACH = 64  # idle connections to one origin
SETTLE_S = 0.1
MAX_INTERIM = 4  # 1xx answers before the real one


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port of an upstream, and the path that its own begin with."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    link_local: bool = False

    @property
    def host_header(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"


def read_origin(base_url: str, *, link_local: bool = False) -> Origin:
    """The origin of a base URL such as `http://127.0.0.1:11434` or `https://gpu.lan/v1`. Raises `ValueError`."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"base URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("base URL must not hold a user, a password, a query or a fragment")
    if not base_url.isascii() or any(ord(char) <= 32 or ord(char) == 127 for char in base_url):
        raise ValueError("base URL must not hold blanks, control characters or letters beyond ASCII")
    if port == 0:
        raise ValueError("base URL: port must be from 1 to 65535")
    return Origin(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or (443 if parts.scheme == "https" else 80),
        prefix=parts.path.rstrip("/"),
        link_local=link_local,
    )


class Response:
    """An answer that is being read: its head, then its body's bytes. Must be closed."""

    def __init__(self, client: Client, origin: Origin, connection: Connection, *, times: Times, began: float) -> None:
        self._client = client
        self._origin = origin
        self._connection = connection
        self._times = times
        self._ends = began + times.total
        self._loop = asyncio.get_running_loop()
        self._bytes = 0
        self._heard = False  # a byte of the body has come
        self._closed = False
        self._cap = ANSWER_BYTES
        self.head = Head(status=0, headers={}, keeps=False)

    async def begin(self) -> None:
        """Read the head. Raises `WireError`."""
        raw = b""
        for _ in range(MAX_INTERIM):
            head, raw = await self._read_head(raw)
            if head.status >= 200:
                break
        else:
            raise Malformed("too many interim answers")
        self.head = head
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            raise Malformed("a compressed answer, which was not asked for")
        self._body = body_of(head)
        self._pending = raw

    async def _read_head(self, raw: bytes) -> tuple[Head, bytes]:
        while True:
            end, gap = raw.find(b"\r\n\r\n"), 4
            if end < 0:
                end, gap = raw.find(b"\n\n"), 2
            if end > HEAD_BYTES or (end < 0 and len(raw) > HEAD_BYTES):
                raise Malformed(f"the head has more than {HEAD_BYTES} bytes")
            if end >= 0:
                return read_head(raw[:end]), raw[end + gap :]
            data = await self._receive()
            if not data:
                stale = not raw and not self._connection.is_fresh
                raise BrokenOff("the connection ended before an answer", stale=stale)
            raw += data

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end. Raises `WireError`."""
        while True:
            if self._body.done:
                self._finish()
                return b""
            data, self._pending = self._pending or await self._receive(), b""
            if not data:
                if not self._body.may_end():
                    raise BrokenOff("the connection ended in the middle of an answer")
                self.close()
                return b""
            content = self._body.feed(data)
            if content:
                self._bytes += len(content)
                if self._bytes > self._cap:
                    raise TooLarge(f"the answer has more than {self._cap} bytes")
                self._heard = True
                return content

    async def read_all(self, *, most: int) -> bytes:
        """The whole body. Raises `WireError`, `TooLarge` beyond `most` bytes."""
        self._cap = most
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Let the connection go; one whose answer has not ended is closed at once."""
        if not self._closed:
            self._closed = True
            self._connection.abort()

    async def settle(self) -> None:
        """Close, after a moment in which the end of a body may come that says nothing more: then it can be kept."""
        if self._closed:
            return
        try:
            if not self._body.done and (self._pending or self._connection.has_bytes):
                data, self._pending = self._pending or await self._connection.read(), b""
                self._body.feed(data)
            if self._body.done:  # as nearly always: the end came with the last words
                self._finish()
                return
            async with asyncio.timeout(SETTLE_S):
                while await self.read():
                    pass
        except (WireError, TimeoutError):
            pass
        finally:
            self.close()

    async def _receive(self) -> bytes:
        # Idle is an upstream while we wait for it; while our client takes its time, only the whole answer's bound runs.
        idle = self._loop.time() + self._times.idle
        if self._heard and idle < self._ends:
            self._connection.set_clock(idle, f"no further byte within {self._times.idle:g} s")
        try:
            return await self._connection.read()
        except TookTooLong as error:
            raise TookTooLong(str(error), first=not self._heard, waited=error.waited) from None
        finally:
            if self._heard and not self._closed:
                self._connection.set_clock(self._ends, f"no end within {self._times.total:g} s")

    def _finish(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.head.keeps and not self._body.rest and not self._pending:
            self._client.keep(self._origin, self._connection)
        else:
            self._connection.abort()


class Client:
    """Connections to upstreams, kept between requests. Belongs to one event loop."""

    def __init__(self) -> None:
        self._kept: dict[Origin, deque[Connection]] = {}
        self._tls: ssl.SSLContext | None = None
        self.opened = 0  # connections made so far

    async def send(
        self,
        origin: Origin,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        times: Times,
        fresh: bool = False,
    ) -> Response:
        """Send a request and read the head of its answer, on a new connection where `fresh`. Raises `WireError`.

        Whoever gets the answer closes it. Where this is cancelled, the connection is closed at once.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        connection = (None if fresh else self._take(origin)) or await self._connect(origin, times)
        response = Response(self, origin, connection, times=times, began=began)
        try:
            late = f"no first byte within {times.first_byte:g} s"
            connection.set_clock(began + min(times.first_byte, times.total), late)
            connection.write(_request_head(origin, method, path, headers, len(body)) + body)
            await response.begin()
        except BaseException:
            response.close()
            raise
        return response

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Take a connection back whose answer has ended."""
        kept = self._kept.setdefault(origin, deque())
        if not connection.is_open or len(kept) >= KEPT_EACH:
            connection.abort()
            return
        connection.rest()
        kept.append(connection)

    def close(self) -> None:
        """Close all that is kept."""
        for kept in self._kept.values():
            for connection in kept:
                connection.abort()
        self._kept.clear()

    def _take(self, origin: Origin) -> Connection | None:
        """The one that was used last, as long as it may be; those that rested too long are closed."""
        kept = self._kept.get(origin)
        oldest = time.monotonic() - KEPT_S
        while kept and kept[0].idle_since < oldest:
            kept.popleft().abort()
        while kept:
            connection = kept.pop()
            if connection.is_open:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, times: Times) -> Connection:
        self.opened += 1
        if origin.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        seconds = min(times.connect, times.first_byte)
        try:
            async with asyncio.timeout(seconds):
                addresses = await resolve(origin.host, origin.port, link_local=origin.link_local)
        except TimeoutError:
            raise CannotConnect(f"{origin.host} was not resolved within {seconds:g} s") from None
        tls = self._tls if origin.scheme == "https" else None
        return await connect(addresses, origin.port, host=origin.host, tls=tls, seconds=seconds)


def _request_head(origin: Origin, method: str, path: str, headers: Sequence[tuple[str, str]], length: int) -> bytes:
    lines = [
        f"{method} {origin.prefix}{path} HTTP/1.1",
        f"Host: {origin.host_header}",
        "Accept-Encoding: identity",
        f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    if any(char in line for line in lines for char in "\r\n\0"):
        raise ValueError("a header holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
