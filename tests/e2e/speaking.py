"""An upstream beside a browser: it answers what a test has written down for it, and waits where a test wants it to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.generation.chat.scripted import DONE, USAGE, Served, Wire, event, serving

HOLD = "⏸"  # the upstream waits here until `go_on`


@dataclass
class Speaking:
    """`answers` by what is said last; what is not among them gets `Well.`"""

    answers: dict[str, str] = field(default_factory=dict)
    served: Served | None = None
    gone: int = 0  # clients that left in the middle of an answer
    _go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.served is not None
        return self.served.port

    @property
    def heard(self) -> list[list[tuple[str, str]]]:
        """The messages of each request."""
        assert self.served is not None
        return [[(one["role"], one["content"]) for one in asked.json["messages"]] for asked in self.served.asked]

    def go_on(self) -> None:
        """Say the rest."""
        self._go_on.set()

    async def answer(self, wire: Wire) -> None:
        """One request, a few characters at a time, as a model writes."""
        text = self.answers.get(wire.asked.json["messages"][-1]["content"], "Well.")
        await wire.head()
        self._go_on.clear()
        for place, part in enumerate(text.split(HOLD)):
            if place:
                await self._hold(wire)
            for start in range(0, len(part), 7):
                await wire.chunk(event({"content": part[start : start + 7]}))
        for last in (event({}, "stop"), event(None, usage=USAGE), DONE):
            await wire.chunk(last)
        await wire.chunk(b"")

    async def _hold(self, wire: Wire) -> None:
        gone = asyncio.ensure_future(wire.gone(120))
        while not self._go_on.is_set() and not gone.done():
            await asyncio.sleep(0.02)
        if gone.done():
            self.gone += 1
            raise ConnectionError
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


@contextmanager
def speaking(**answers: str) -> Iterator[Speaking]:
    """A server on loopback in a thread of its own."""
    found = Speaking(answers)
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with serving(found.answer) as served:
            found.served = served
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        yield found
    finally:
        over.set()
        thread.join(10)
