"""How many requests each upstream has at once in this process, and who waits for a place.

A place that is given back goes to whoever has waited longest for it, without being free in between: a newcomer cannot
take it. Counted by each process for itself; an upstream with several processes in front has as many times its places.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from generation.chat.targets import Target

MAX_WAITING = 1000


class NoPlace(Exception):
    """Every place was taken, for as long as one waits."""


class Slots:
    """Places at upstreams. Belongs to one event loop."""

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[str]]] = {}

    def busy(self, upstream: str) -> int:
        """Requests that an upstream has now."""
        return self._busy[upstream]

    def order(self, targets: Sequence[Target]) -> list[Target]:
        """The least busy first, by requests for each unit of weight; of equals the heavier."""
        return sorted(targets, key=lambda target: (self._load(target), -target.upstream.weight))

    def take(self, target: Target) -> bool:
        """Take a place where there is one that nobody waits for."""
        upstream = target.upstream
        if self._busy[upstream.id] >= upstream.concurrency or self._waiting.get(upstream.id):
            return False
        self._busy[upstream.id] += 1
        return True

    async def wait(self, targets: Sequence[Target], *, seconds: float) -> Target:
        """The first place that becomes free at one of them. Raises `NoPlace`."""
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            raise NoPlace
        place: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ids = {target.upstream.id: target for target in targets}
        for upstream in ids:
            self._waiting.setdefault(upstream, deque()).append(place)
        try:
            async with asyncio.timeout(seconds):
                return ids[await place]
        except TimeoutError:
            self._give_back(place)
            raise NoPlace from None
        except asyncio.CancelledError:
            self._give_back(place)
            raise
        finally:
            self._forget(place, ids)

    def release(self, upstream: str) -> None:
        """Give a place back."""
        waiting = self._waiting.get(upstream)
        while waiting:
            place = waiting.popleft()
            if not place.done():
                place.set_result(upstream)
                return
        self._busy[upstream] -= 1

    def _give_back(self, place: asyncio.Future[str]) -> None:
        """It was given a place in the very moment in which it stopped to wait."""
        if place.done() and not place.cancelled():
            self.release(place.result())

    def _forget(self, place: asyncio.Future[str], upstreams: dict[str, Target]) -> None:
        for upstream in upstreams:
            waiting = self._waiting.get(upstream)
            if waiting is not None:
                if place in waiting:
                    waiting.remove(place)
                if not waiting:
                    self._waiting.pop(upstream, None)

    def _load(self, target: Target) -> float:
        return self._busy[target.upstream.id] / target.upstream.weight
