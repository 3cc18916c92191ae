"""What the door remembers for seconds: read once for many, read anew before it is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from qwenstudio.door.remembered import Remembered

LONG_S = 600.0


class Source:
    """Gives 1, 2, 3 …; while `gate` is closed whoever reads waits."""

    def __init__(self) -> None:
        self.read = 0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> int:
        self.read += 1
        found = self.read
        await self.gate.wait()
        if self.fails:
            raise OSError("away")
        return found


def play(scene: Callable[[Source, Remembered[int]], Awaitable[None]]) -> None:
    async def run() -> None:
        source = Source()
        await scene(source, Remembered(source))

    asyncio.run(asyncio.wait_for(run(), 10))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def make_old(remembered: Remembered[int], seconds: float) -> None:
    remembered._at -= seconds


def test_many_wait_for_one_reading() -> None:
    async def scene(source: Source, remembered: Remembered[int]) -> None:
        source.gate.clear()
        asked = [asyncio.create_task(remembered.get(LONG_S)) for _ in range(20)]
        await settle()
        asked[0].cancel()  # whoever leaves takes nothing from the others
        source.gate.set()
        assert await asyncio.gather(*asked[1:]) == [1] * 19
        assert await remembered.get(LONG_S) == 1 and source.read == 1

    play(scene)


def test_it_is_read_anew_before_it_is_too_old() -> None:
    async def scene(source: Source, remembered: Remembered[int]) -> None:
        assert await remembered.get(LONG_S) == 1
        source.gate.clear()
        make_old(remembered, 0.6 * LONG_S)
        assert [await remembered.get(LONG_S) for _ in range(3)] == [1, 1, 1]  # nobody waits
        source.gate.set()
        await settle()
        assert (await remembered.get(LONG_S), source.read) == (2, 2)
        make_old(remembered, LONG_S)
        assert await remembered.get(LONG_S) == 3

    play(scene)


def test_what_is_known_outlives_a_failure_but_not_its_time() -> None:
    async def scene(source: Source, remembered: Remembered[int]) -> None:
        await remembered.get(LONG_S)
        source.fails = True
        make_old(remembered, 0.6 * LONG_S)
        assert await remembered.get(LONG_S) == 1
        await settle()
        assert await remembered.get(LONG_S) == 1 and source.read == 2
        make_old(remembered, LONG_S)
        with pytest.raises(OSError, match="away"):
            await remembered.get(LONG_S)
        source.fails = False
        assert await remembered.get(LONG_S) > 3

    play(scene)


def test_what_is_forgotten_is_read() -> None:
    async def scene(source: Source, remembered: Remembered[int]) -> None:
        await remembered.get(LONG_S)
        remembered.forget()
        assert await remembered.get(LONG_S) == 2

    play(scene)
