"""Leave to ask an upstream: which one, its place, its breaker, and what becomes of both when an attempt fails.

Whatever asks upstreams asks by `Leases.attempt`: the least busy target whose breaker permits, and once more another one
where the first gave no answer. A connection that we kept and that had ended meanwhile is nobody's failure: then the
same upstream may be asked again, over a fresh one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from generation.chat.breaker import Breaker, BreakerOpen, Ticket
from generation.chat.record import CallRecord
from generation.chat.slots import Asker, NoPlace, Place, Slots
from generation.chat.targets import Target, Upstream
from generation.chat.upstreams.dialect import AnswerError
from generation.chat.wire.bounds import Times
from generation.chat.wire.errors import BrokenOff, TookTooLong, WireError
from generation.errors import ChatBusy, ChatUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 2
QUEUE_S = 5.0  # for a place at an upstream
RETRY_S = 5
WARM_S = 240.0  # Ollama keeps a model for five minutes after its last request


class AttemptFailed(Exception):
    """An upstream was asked and gave no answer; `error` is what the client is told where no other follows.

    `stale`: of a kept connection that had ended; the same upstream may be asked once more.
    """

    def __init__(self, error: Exception, *, stale: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.stale = stale


@dataclass(frozen=True, slots=True)
class Lease:
    """A place at an upstream, and leave to ask it. Whoever has it ends it: `Leases.give_up`, or both parts by hand."""

    place: Place
    ticket: Ticket

    @property
    def target(self) -> Target:
        """Who may be asked."""
        return self.place.target

    @property
    def upstream(self) -> Upstream:
        """Its server."""
        return self.place.target.upstream


class Leases:
    """One for each process. Belongs to one event loop.

    `note_open` is told whether an upstream's breaker is open, as often as it is looked at.
    """

    def __init__(
        self,
        breaker: Breaker,
        *,
        queue_s: float = QUEUE_S,
        note_open: Callable[[Upstream, bool], None] = lambda upstream, is_open: None,
    ) -> None:
        self.breaker = breaker
        self.slots = Slots()
        self._queue_s = queue_s
        self._note_open = note_open
        self._warm: dict[tuple[str, str], float] = {}

    async def attempt(
        self,
        targets: Sequence[Target],
        ask: Callable[[Lease, bool], Awaitable[T]],
        *,
        asker: Asker,
        record: CallRecord,
    ) -> T:
        """What `ask` makes of a lease; the next target's where it raises `AttemptFailed`.

        `ask` is also told whether it must take a fresh connection; once called, the lease is its own to end. Raises
        `ChatUnavailable`, `ChatBusy`, the last attempt's error, and whatever else `ask` raises.
        """
        tried: set[str] = set()
        failed: Exception | None = None
        fresh = False
        for _ in range(ATTEMPTS):
            left = [target for target in targets if target.upstream.id not in tried]
            if not left:
                break
            lease = await self._take(left, asker, failed)
            record.attempts += 1
            record.upstream = lease.upstream.id
            try:
                return await ask(lease, fresh)
            except AttemptFailed as error:
                failed, fresh = error.error, error.stale
                if not error.stale:
                    tried.add(lease.upstream.id)
        raise failed or ChatUnavailable("no server answers for this model; try again", retry_after_s=RETRY_S)

    async def give_up(self, lease: Lease, error: BaseException) -> None:
        """An attempt ended by an error: its place is free, and the breaker hears of it where the upstream is at fault.

        Raises `AttemptFailed` for an upstream's own failures, else returns, and the error goes on.
        """
        upstream = lease.upstream
        self.slots.release(lease.place)
        if not isinstance(error, (WireError, AnswerError)):
            self.breaker.release(lease.ticket)
            return
        log.warning("upstream %s failed: %s", upstream.name or upstream.id, error)
        stale = isinstance(error, BrokenOff) and error.stale
        if stale:
            self.breaker.release(lease.ticket)
        else:
            await self.breaker.fail(lease.ticket, at_once=isinstance(error, TookTooLong) and error.first)
        why = ChatUnavailable("the server of this model did not answer; try again", retry_after_s=RETRY_S)
        raise AttemptFailed(why, stale=stale) from None

    def note_warm(self, target: Target) -> None:
        """Its model has just answered."""
        self._warm[target.upstream.id, target.model] = time.monotonic()

    def times(self, target: Target) -> Times:
        """The upstream's bounds; the first byte's is longer while its model may be loading."""
        upstream = target.upstream
        if upstream.loading_s <= upstream.times.first_byte:
            return upstream.times
        heard = self._warm.get((upstream.id, target.model), -math.inf)
        is_warm = time.monotonic() - heard < WARM_S
        return upstream.times if is_warm else replace(upstream.times, first_byte=upstream.loading_s)

    async def _take(self, targets: Sequence[Target], asker: Asker, failed: Exception | None) -> Lease:
        """The least busy target whose breaker lets us ask. Raises `ChatUnavailable`, `ChatBusy`, or `failed`."""
        rests: list[float] = []
        full: list[Target] = []
        for target in self.slots.order(targets):
            place = self.slots.take(target, asker)
            if place is None:
                full.append(target)
            elif lease := await self._admit(place, rests):
                return lease
        if full and failed is None:
            return await self._take_later(full, asker, rests)
        if failed is not None:
            raise failed
        raise _resting(rests)

    async def _take_later(self, targets: Sequence[Target], asker: Asker, rests: list[float]) -> Lease:
        until = time.monotonic() + self._queue_s
        while (left := until - time.monotonic()) > 0:
            try:
                place = await self.slots.wait(targets, asker, seconds=left)
            except NoPlace:
                break
            if lease := await self._admit(place, rests):
                return lease
            targets = [other for other in targets if other is not place.target]
            if not targets:
                raise _resting(rests)
        raise ChatBusy("the servers of this model are busy; try again", retry_after_s=RETRY_S)

    async def _admit(self, place: Place, rests: list[float]) -> Lease | None:
        """Leave to ask a target at which we have a place; without it the place is given back."""
        upstream = place.target.upstream
        try:
            ticket = await self.breaker.admit(upstream.id, probe_s=self.times(place.target).first_byte + 1)
        except BreakerOpen as error:
            rests.append(error.left_s)
            self.slots.release(place)
            self._note_open(upstream, True)
            return None
        except BaseException:
            self.slots.release(place)
            raise
        self._note_open(upstream, bool(ticket.probe))
        return Lease(place, ticket)


def _resting(rests: Sequence[float]) -> ChatUnavailable:
    left = max(1, math.ceil(min(rests, default=RETRY_S)))
    return ChatUnavailable("the servers of this model do not answer just now; try again", retry_after_s=left)
