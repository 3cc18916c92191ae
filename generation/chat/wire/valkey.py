"""Our scripts in Valkey (or Redis) over one pipelined connection.

Every chat request runs one; redis-py's asynchronous client takes 0.12 ms of the processor for that, and half a
millisecond with the task that keeps its swallowed cancellations away, this 0.03 ms. It speaks as much of RESP2 as
scripts that return numbers need: whole numbers, lists of them, words and errors.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

from generation.chat.wire.errors import WireError

PATIENCE_S = 0.25  # for one answer, and for connecting
MAX_LIST = 64


class ValkeyAway(OSError):
    """It cannot be reached, does not answer, or refuses us."""


class ScriptRefused(ValkeyAway):
    """It answers with an error: a bug of ours, a wrong password, or a server that is full or read-only."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that returns whole numbers, and its name in the server."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest())


class Scripts:
    """Runs scripts. One for each process; belongs to one event loop."""

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._address: dict[str, Any] = dict(parse_url(url))
        self._patience_s = patience_s
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> list[int]:
        """What the script returns; a single number as a list of one. Raises `ValkeyAway`."""
        line = self._line
        if line is None or line.is_closed:
            line = await self._connect()
        try:
            found = await line.ask("EVALSHA", script.sha, len(keys), *keys, *args)
        except ScriptRefused as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            found = await line.ask("EVAL", script.source, len(keys), *keys, *args)
        if isinstance(found, int):
            return [found]
        if not isinstance(found, list):
            raise ScriptRefused(f"no numbers: {found!r}")
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._line is not None:
            self._line.close()

    async def _connect(self) -> _Line:
        """A connection, made once however many want it."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._open())
            self._connecting.add_done_callback(_look_at)  # who wanted it may all have left
        return await asyncio.shield(self._connecting)

    async def _open(self) -> _Line:
        loop, address = asyncio.get_running_loop(), self._address
        try:
            async with asyncio.timeout(self._patience_s):
                if "path" in address:
                    _, line = await loop.create_unix_connection(lambda: _Line(self._patience_s), address["path"])
                else:
                    host, port = address.get("host", "localhost"), address.get("port", 6379)
                    tls = _tls(address) if address.get("connection_class") is SSLConnection else None
                    _, line = await loop.create_connection(lambda: _Line(self._patience_s), host, port, ssl=tls)
        except (OSError, TimeoutError) as error:
            raise ValkeyAway(f"cannot connect: {type(error).__name__}") from None
        try:
            if password := address.get("password"):
                await line.ask("AUTH", *([address["username"]] if address.get("username") else []), password)
            if database := address.get("db"):
                await line.ask("SELECT", database)
        except BaseException:
            line.close()
            raise
        self._line = line
        return line


class _Line(asyncio.Protocol):
    """One connection: answers come in the order of the questions."""

    def __init__(self, patience_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience_s = patience_s
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self._deadline = 0.0  # of the oldest question; 0: there is none
        self._timer: asyncio.TimerHandle | None = None
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio has connected."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers have come."""
        self._buffer += data
        at = 0
        try:
            while self._waiting and (found := read_reply(self._buffer, at)) is not None:
                value, at = found
                self._answer(value)
        except WireError as error:
            self.close(str(error))
            return
        self._buffer = self._buffer[at:]
        self._deadline = self._loop.time() + self._patience_s if self._waiting else 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.close("the connection ended")

    async def ask(self, *words: str | int) -> Any:
        """Send a command; its answer. Raises `ValkeyAway`."""
        if self.is_closed or self._transport is None:
            raise ValkeyAway("the connection ended")
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._deadline = self._loop.time() + self._patience_s
            if self._timer is None:
                self._timer = self._loop.call_at(self._deadline, self._ring)
        self._waiting.append(answer)
        self._transport.write(write_command(words))
        return await answer

    def close(self, why: str = "closed") -> None:
        """Let everybody know who waits."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            self._answer(ValkeyAway(why))

    def _answer(self, value: Any) -> None:
        answer = self._waiting.popleft()
        if answer.done():  # whoever asked has left
            return
        if isinstance(value, Exception):
            answer.set_exception(value)
        else:
            answer.set_result(value)

    def _ring(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        if self._loop.time() >= self._deadline:
            self.close(f"no answer within {self._patience_s:g} s")
        else:
            self._timer = self._loop.call_at(self._deadline, self._ring)


def write_command(words: Sequence[str | int]) -> bytes:
    """A command as RESP has it."""
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def read_reply(data: bytes, at: int) -> tuple[Any, int] | None:
    """The reply that begins at a place, and where the next one does; None where it is not whole yet.

    An error is a `ScriptRefused` as a value. Raises `WireError` for what is no reply that we know.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, text, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b":":
        return _number(text), at
    if kind == b"+":
        return text.decode("latin-1"), at
    if kind == b"-":
        return ScriptRefused(text.decode("latin-1")), at
    if kind != b"*" or not 0 <= (count := _number(text)) <= MAX_LIST:
        raise WireError(f"no reply: {data[:40]!r}")
    values = []
    for _ in range(count):
        found = read_reply(data, at)
        if found is None:
            return None
        value, at = found
        values.append(value)
    return values, at


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise WireError(f"no number: {text[:40]!r}") from None


def _tls(address: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.get("ssl_ca_certs"))
    if address.get("ssl_cert_reqs") == "none":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _look_at(task: asyncio.Task[_Line]) -> None:
    if not task.cancelled():
        task.exception()
