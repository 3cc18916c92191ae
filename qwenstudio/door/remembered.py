"""What was read a moment ago, read anew before it is too old: whoever asks often waits for it hardly ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """One thing. Belongs to one event loop.

    However many ask for it at once, it is read once. One that is asked for in the second half of its time is read again
    behind the back of whoever asked. Where reading fails what is known stays, until its time is over.
    """

    def __init__(self, read: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._read = read
        self._found: T | None = None
        self._at = 0.0
        self._reading: asyncio.Task[T] | None = None

    async def get(self, kept_s: float) -> T:
        """It, so old at most. Raises what reading raises."""
        if self._found is not None:
            age = time.monotonic() - self._at
            if age < kept_s:
                if age > kept_s / 2:
                    self._begin()
                return self._found
        return await asyncio.shield(self._begin())

    def forget(self) -> None:
        """Read it anew next time."""
        self._found = None

    def _begin(self) -> asyncio.Task[T]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_now())
            self._reading.add_done_callback(_look_at)  # who wanted it may all have left
        return self._reading

    async def _read_now(self) -> T:
        asked_at = time.monotonic()
        found = await self._read()
        self._found, self._at = found, asked_at
        return found


def _look_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
