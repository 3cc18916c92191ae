"""An upstream for tests: a server on loopback that answers each request as a script says, and keeps what came."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from generation.chat.targets import Kind, Offer, Target, Upstream
from generation.chat.wire.bounds import Times

# No machine is too slow for these. A test that waits for one of the bounds makes that one short, and no other.
PATIENT = Times(connect=60, first_byte=60, idle=60, total=120)
IMPATIENT = Times(connect=60, first_byte=0.3, idle=0.3, total=120)
QUICK = Times(connect=0.3, first_byte=0.3, idle=0.3, total=1.0)


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


class Wire:
    """The server's side of one exchange."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked) -> None:
        self.reader, self.writer, self.asked = reader, writer, asked

    async def send(self, data: bytes) -> None:
        """Bytes, at once."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, media_type: str = "text/event-stream", **headers: str) -> None:
        """A status line and headers; the body is chunked unless a length is given."""
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {media_type}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if "Content_Length" not in headers:
            lines.append("Transfer-Encoding: chunked")
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        """A chunk; an empty one ends the body."""
        await self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    async def answer(self, status: int, body: Any, **headers: str) -> None:
        """One JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.head(status, "application/json", Content_Length=str(len(content)), **headers)
        await self.send(content)

    async def stream(self, *events: bytes) -> None:
        """A whole stream of events, each in a chunk of its own."""
        await self.head()
        for event in events:
            await self.chunk(event)
        await self.chunk(b"")

    async def gone(self, seconds: float = 30.0) -> bool:
        """Whether the client closes the connection within the time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


Script = Callable[[Wire], Awaitable[None]]


@dataclass
class Served:
    """A running server."""

    port: int
    script: Script
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def upstream(self, kind: Kind = "openai", id: str = "one", **fields: Any) -> Upstream:
        """It as an upstream."""
        fields = {"times": PATIENT, "base_url": f"http://127.0.0.1:{self.port}", **fields}
        return Upstream(id=id, kind=kind, **fields)

    def offer(self, kind: Kind = "openai", **fields: Any) -> Offer:
        """A chat model that it alone answers for."""
        return Offer(slug="chat", targets=(Target(upstream=self.upstream(kind, **fields), model="theirs"),))


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Served]:
    """A server that runs the script for each request; the connection ends where the script raises."""
    served = Served(port=0, script=script)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while (asked := await _read(reader)) is not None:
                served.asked.append(asked)
                await served.script(Wire(reader, writer, asked))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def serving_in_thread(script: Script) -> Iterator[Served]:
    """The same in a thread of its own, for tests that wait in theirs."""
    started, over = threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with serving(script) as one:
            found.extend((one, asyncio.get_running_loop()))
            started.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(60)
    try:
        yield found[0]
    finally:
        found[1].call_soon_threadsafe(over.set)
        thread.join()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)


def event(delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """A server-sent event with a chunk of OpenAI's."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": choices}
    return b"data: " + json.dumps({**body, **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
HELLO = (
    event({"role": "assistant", "content": ""}),
    event({"content": "Hello"}),
    event({"content": " world"}),
    event({}, "stop"),
    event(None, usage=USAGE),
    DONE,
)


def line(**fields: Any) -> bytes:
    """A line of Ollama's."""
    return json.dumps({"model": "theirs", "created_at": "2026-11-26T00:00:00Z", **fields}).encode() + b"\n"


def says(*scripts: Script) -> Script:
    """Runs one script after the other, the last for all that follow."""
    waiting = list(scripts)

    async def run(wire: Wire) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(wire)

    return run


async def hello(wire: Wire) -> None:
    """A good answer."""
    await wire.stream(*HELLO)


def status(code: int, body: Any = None) -> Script:
    """An answer with this status."""

    async def run(wire: Wire) -> None:
        await wire.answer(code, {"error": {"message": "no"}} if body is None else body)

    return run


async def hang(wire: Wire) -> None:
    """Nothing, until the client goes."""
    await wire.gone()
    raise ConnectionError


async def reset(wire: Wire) -> None:
    """The connection ends without an answer."""
    raise ConnectionError
