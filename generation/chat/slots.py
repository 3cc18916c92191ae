"""How many requests each upstream has at once in this process, and whose turn it is where all places are taken.

A place that is given back goes to the tenant whose clock is furthest behind. A clock is the seconds that a tenant has
held places of this upstream ÷ its weight, those that it holds now included: whoever sends a hundred requests at once
waits behind itself, not in front of the others. A tenant that comes anew begins where the last one was served, so
nobody saves up turns by staying away; once an upstream has nothing to do all clocks begin again. Of one tenant's
requests, and of equals, the one that has waited longest goes first.

Counted by each process for itself; an upstream with several processes in front has as many times its places.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from generation.chat.targets import Target

MAX_WAITING = 1000


class NoPlace(Exception):
    """Every place was taken, for as long as one waits."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose request it is. `weight`: how large a part of a busy upstream its tenant may have. Raises `ValueError`."""

    tenant: str
    weight: int = 1

    def __post_init__(self) -> None:
        if self.weight < 1:
            raise ValueError(f"weight must be at least 1, got {self.weight}")


OURSELVES = Asker("")
"""The installation's own questions, as those of `release compare`."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One request's at an upstream, since a moment of the clock that counts it."""

    target: Target
    asker: Asker
    since: float


@dataclass(slots=True, eq=False)
class _Waiter:
    """Waits for a place at any of `targets` (by the upstream's id)."""

    number: int
    asker: Asker
    targets: Mapping[str, Target]
    place: asyncio.Future[Place]


@dataclass(slots=True)
class _Share:
    """What one tenant has had of an upstream, in seconds ÷ weight, and who of it waits."""

    clock: float  # of the places that were given back
    weight: int = 1
    held: int = 0
    since: float = 0.0  # the sum of those of the places that are held
    waiting: deque[_Waiter] = field(default_factory=deque)

    @property
    def is_idle(self) -> bool:
        return not self.held and not self.waiting

    def at(self, now: float) -> float:
        """The clock, with what is held."""
        return self.clock + (self.held * now - self.since) / self.weight


class _Upstream:
    """The places of one upstream: who has some, who waits."""

    def __init__(self) -> None:
        self.busy = 0
        self.waiting = 0
        self._shares: dict[str, _Share] = {}
        self._reached = 0.0  # the clock of whoever was served last

    def take(self, target: Target, asker: Asker, now: float) -> Place:
        """Give a place away."""
        share = self._share(asker)
        self._reached = max(self._reached, share.at(now))
        share.held += 1
        share.since += now
        self.busy += 1
        return Place(target, asker, now)

    def give_back(self, place: Place, now: float) -> None:
        """It is free; its seconds are on its tenant's clock."""
        share = self._shares[place.asker.tenant]
        share.held -= 1
        share.since -= place.since
        share.clock += (now - place.since) / share.weight
        self.busy -= 1
        if share.is_idle and share.clock <= self._reached:
            del self._shares[place.asker.tenant]

    def join(self, waiter: _Waiter) -> None:
        """Wait in the tenant's own line."""
        self._share(waiter.asker).waiting.append(waiter)
        self.waiting += 1

    def leave(self, waiter: _Waiter) -> None:
        """Wait no longer."""
        share = self._shares.get(waiter.asker.tenant)
        if share is not None and waiter in share.waiting:
            share.waiting.remove(waiter)
            self.waiting -= 1

    def next(self, now: float) -> _Waiter | None:
        """Whose turn it is."""
        heads = [(share.at(now), head) for share in self._shares.values() if (head := _head(share.waiting)) is not None]
        return min(heads, key=lambda found: (found[0], found[1].number))[1] if heads else None

    def _share(self, asker: Asker) -> _Share:
        share = self._shares.setdefault(asker.tenant, _Share(self._reached))
        if share.is_idle:
            share.clock = max(share.clock, self._reached)
        share.weight = asker.weight
        return share


class Slots:
    """Places at upstreams. Belongs to one event loop. `now` gives seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._upstreams: dict[str, _Upstream] = {}
        self._numbers = count()
        self._waiting = 0

    def busy(self, upstream: str) -> int:
        """Requests that an upstream has now."""
        found = self._upstreams.get(upstream)
        return found.busy if found else 0

    def is_quiet(self) -> bool:
        """Whether nobody has a place or waits for one."""
        return not self._upstreams

    def order(self, targets: Sequence[Target]) -> list[Target]:
        """The least busy first, by requests for each unit of weight; of equals the heavier."""
        return sorted(targets, key=lambda target: (self._load(target), -target.upstream.weight))

    def take(self, target: Target, asker: Asker) -> Place | None:
        """Take a place where there is one that nobody waits for."""
        upstream = self._upstream(target.upstream.id)
        if upstream.busy >= target.upstream.concurrency or upstream.waiting:
            return None
        return upstream.take(target, asker, self._now())

    async def wait(self, targets: Sequence[Target], asker: Asker, *, seconds: float) -> Place:
        """The first place at one of them that becomes free on its tenant's turn. Raises `NoPlace`."""
        if self._waiting >= MAX_WAITING:
            raise NoPlace
        waiter = _Waiter(
            next(self._numbers),
            asker,
            {target.upstream.id: target for target in targets},
            asyncio.get_running_loop().create_future(),
        )
        for id in waiter.targets:
            self._upstream(id).join(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                return await waiter.place
        except TimeoutError:
            self._refuse(waiter)
            raise NoPlace from None
        except asyncio.CancelledError:
            self._refuse(waiter)
            raise
        finally:
            self._waiting -= 1
            self._leave(waiter)

    def release(self, place: Place) -> None:
        """Give a place back: it is the next one's at once, without being free in between."""
        id, now = place.target.upstream.id, self._now()
        upstream = self._upstreams[id]
        upstream.give_back(place, now)
        waiter = upstream.next(now)
        if waiter is not None:
            waiter.place.set_result(upstream.take(waiter.targets[id], waiter.asker, now))
            self._leave(waiter)
        self._forget(id)

    def _refuse(self, waiter: _Waiter) -> None:
        """It was given a place in the very moment in which it stopped to wait."""
        if waiter.place.done() and not waiter.place.cancelled():
            self.release(waiter.place.result())

    def _leave(self, waiter: _Waiter) -> None:
        for id in waiter.targets:
            if id in self._upstreams:
                self._upstreams[id].leave(waiter)
                self._forget(id)

    def _upstream(self, id: str) -> _Upstream:
        return self._upstreams.setdefault(id, _Upstream())

    def _forget(self, id: str) -> None:
        found = self._upstreams[id]
        if not found.busy and not found.waiting:
            del self._upstreams[id]

    def _load(self, target: Target) -> float:
        return self.busy(target.upstream.id) / target.upstream.weight


def _head(waiting: deque[_Waiter]) -> _Waiter | None:
    """The first of a line who has not just gone."""
    return next((waiter for waiter in waiting if not waiter.place.done()), None)
