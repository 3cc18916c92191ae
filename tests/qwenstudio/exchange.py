"""Calls an ASGI application in the test's own process, byte by byte if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from qwenstudio.door.http import Application, Message, Scope

PATIENCE_S = 60.0  # a busy machine may take long; no test measures this


def make_scope(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, query: bytes = b"", **extra: Any
) -> Scope:
    """The scope of a request to this machine."""
    pairs = {"host": "127.0.0.1", **{name.lower(): value for name, value in (headers or {}).items()}}
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        **extra,
    }


@dataclass
class Exchange:
    """One request: what the client sends, and what it has received so far."""

    scope: Scope
    body: bytes = b""
    stalled: bool = False  # the client reads nothing
    left: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    received: bytes = b""
    messages: list[Message] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _sent: bool = False

    async def receive(self) -> Message:
        """The body, then nothing until the client leaves."""
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message, unless the client has stopped to read."""
        if self.stalled and message["type"] != "http.response.start":
            await self.left.wait()
            raise ConnectionError("the client has left")
        self.messages.append(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        self.received += message.get("body", b"")
        self.news.set()

    async def run(self, application: Application) -> Exchange:
        """To the end of the answer."""
        await application(self.scope, self.receive, self.send)
        return self

    async def until(self, word: bytes, *, seconds: float = PATIENCE_S) -> bytes:
        """Wait until the answer contains `word`; what has come by then."""
        async with asyncio.timeout(seconds):
            while word not in self.received:
                self.news.clear()
                await self.news.wait()
        return self.received

    @property
    def json(self) -> Any:
        """The body."""
        return orjson.loads(self.received)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The server-sent events so far: `event`, `id`, `data`."""
        found = []
        for block in self.received.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
            if "event" in fields:
                found.append({**fields, "data": orjson.loads(fields["data"])})
        return found
