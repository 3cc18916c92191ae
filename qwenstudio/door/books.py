"""The gateway's books in the tables: what `generation/chat/books.py` asks for, over connections of its own.

Reserving (`reserving.py`) waits for no disk. Settling is done behind the answers, every `SETTLE_EVERY_S` or as soon as
`SETTLE_MANY` calls of a tenant wait: a transaction for each tenant, which holds its counters for a moment, and then
one wait for the disk for all of them (`FLUSH_SQL`). Until that is over they are remembered, and would be settled again
after a crash of the database. While the database is away settlements wait, for `PATIENCE_S`; then, and where this
process dies, the sweep closes them (`generation/domain/lostcalls.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import OperationalError
from psycopg.rows import DictRow

from accounts.domain.callers import Caller
from generation.books.calls import (
    FLUSH_SQL,
    LEASE_S,
    LEFT_SQL,
    RENEW_S,
    RENEW_SQL,
    SETTLE_SQL,
    OpenCall,
    Wish,
    read_left,
    settle_call,
)
from generation.books.offers import OFFERS_SQL, TENANT_SQL, Catalogue, OfTenant, read_catalogue, read_tenant
from generation.chat.books import Kept, Listed, Reservation, TokensLeft
from generation.chat.filters.rules import RuleSet
from generation.chat.record import CallRecord
from generation.chat.targets import Offer
from qwenstudio.door.booktables import WAIT_S, Tables
from qwenstudio.door.remembered import Remembered
from qwenstudio.door.reserving import Reserving

log = logging.getLogger(__name__)

KEPT_S = 2.0  # what staff and tenants have set up
KEPT_TENANTS = 2000
TOGETHER = 64  # settlements in one statement
SETTLE_EVERY_S = 0.2
SETTLE_MANY = TOGETHER // 2
PATIENCE_S = 60.0
RETRY_S = 1.0
MAX_WAITING = 50_000  # settlements in memory


class TableBooks:
    """One for each process that answers chat. Belongs to one event loop."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._catalogue = Remembered(self._read_catalogue)
        self._tenants: OrderedDict[UUID, Remembered[OfTenant]] = OrderedDict()
        self._left: OrderedDict[tuple[UUID, UUID | None, UUID | None], Remembered[DictRow]] = OrderedDict()
        self._settling = Settling(self._tables)
        self._reserving = Reserving(self._tables, ended_of=self._settling.ids_of, note=self._note)
        self._open: dict[UUID, OpenCall] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Make the pool; it connects when first asked."""
        await self._tables.open()

    async def close(self) -> None:
        """Write what waits to be written, then close the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
        await self._settling.drain()
        await self._tables.close()

    # ---- what there is

    async def find_offer(self, caller: Caller, slug: str) -> Offer:
        """As `Books` says; two seconds old at most."""
        catalogue, own = await self._catalogue.get(KEPT_S), await self._of(caller.tenant)
        return catalogue.find(slug, own.grants)

    async def list_offers(self, caller: Caller) -> Sequence[Listed]:
        """As `Books` says."""
        catalogue, own = await self._catalogue.get(KEPT_S), await self._of(caller.tenant)
        return [one.listed for one in catalogue.visible(own.grants)]

    async def rules_of(self, caller: Caller) -> RuleSet | None:
        """As `Books` says. Raises `AnswerBlocked` where they cannot be applied."""
        return (await self._of(caller.tenant)).rule_set()

    def forget(self) -> None:
        """Read everything anew at the next request."""
        self._catalogue.forget()
        self._tenants.clear()

    async def _of(self, tenant: UUID) -> OfTenant:
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = Remembered(lambda: self._read_tenant(tenant))
            while len(self._tenants) > KEPT_TENANTS:
                self._tenants.popitem(last=False)
        return await found.get(KEPT_S)

    async def _read_catalogue(self) -> Catalogue:
        return read_catalogue(await self._tables.fetch(OFFERS_SQL))

    async def _read_tenant(self, tenant: UUID) -> OfTenant:
        found = read_tenant(await self._tables.fetch_scoped(TENANT_SQL, tenant=tenant))
        if found.rules:  # many take a second to compile: nobody else's answer waits for it
            await asyncio.to_thread(found.prepare)
        return found

    # ---- calls

    async def reserve(self, caller: Caller, *, model: str, prompt_chars: int, tokens: int) -> OpenCall:
        """As `Books` says. Raises `QuotaExceeded`, `TooManyChats`, and the driver's errors."""
        wish = Wish(caller=caller, model=model, prompt_chars=prompt_chars, tokens=tokens)
        answer = self._reserving.ask(wish)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(self._give_back)
            raise

    async def tokens_left(self, caller: Caller) -> TokensLeft | None:
        """As `Books` says; asks only where a limit holds, and not for each of many refusals."""
        if not Wish(caller=caller, model="", prompt_chars=0, tokens=0).is_limited:
            return None
        whose = (caller.tenant, caller.user, caller.key)
        found = self._left.get(whose)
        if found is None:
            found = self._left[whose] = Remembered(lambda: self._read_left(*whose))
            while len(self._left) > KEPT_TENANTS:
                self._left.popitem(last=False)
        return read_left(caller, await found.get(KEPT_S))

    async def _read_left(self, tenant: UUID, user: UUID | None, key: UUID | None) -> DictRow:
        (row,) = await self._tables.fetch_scoped(LEFT_SQL, tenant=tenant, user=user, key=key)
        return row

    async def settle(self, reservation: Reservation, record: CallRecord, kept: Kept | None = None) -> None:
        """As `Books` says; returns when it is written for good. `kept` are the words, for a tenant that keeps them."""
        call = reservation
        if not isinstance(call, OpenCall):
            raise TypeError("these books settle what they have reserved")
        self._open.pop(call.id, None)
        await self._settling.add(call.tenant, settle_call(call, record, kept))

    def _note(self, call: OpenCall) -> None:
        """It is under way, so its lease is kept."""
        self._open[call.id] = call
        if self._renewing is None or self._renewing.done():
            self._renewing = self._begin(self._renew_all())

    def _give_back(self, answer: asyncio.Future[OpenCall]) -> None:
        """It was reserved for somebody who did not wait for it."""
        if answer.cancelled() or answer.exception() is not None:
            return
        record = CallRecord()
        record.end("client_gone")
        self._begin(self.settle(answer.result(), record))

    async def _renew_all(self) -> None:
        """Keep the leases of long calls while there are any; those that were lost are the sweep's."""
        while self._open:
            await asyncio.sleep(RENEW_S)
            tenants: dict[str, list[UUID]] = {}
            for call in list(self._open.values()):
                tenants.setdefault(str(call.tenant), []).append(call.id)
            if not tenants:
                return
            try:
                await self._tables.call(RENEW_SQL, lambda: {"lease_s": LEASE_S, "tenants": tenants})  # noqa: B023
            except OperationalError as error:
                log.warning("leases of %d chat calls were not renewed: %s", len(self._open), type(error).__name__)
            except Exception:  # the next time may be better, and nobody else keeps them
                log.exception("leases of chat calls could not be renewed")

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@dataclass(slots=True, eq=False)
class Settlement:
    """One call that is over, until it is written."""

    tenant: UUID
    call: Mapping[str, Any]
    written: asyncio.Future[None]
    give_up_at: float


class Settling:
    """Settlements of all tenants, written one tenant after the other. None is lost while this process lives."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._waiting: dict[UUID, deque[Settlement]] = {}
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._ends = False

    def ids_of(self, tenant: UUID) -> list[UUID]:
        """Calls of a tenant that are over and not written yet."""
        return [one.call["id"] for one in self._waiting.get(tenant, ())]

    async def add(self, tenant: UUID, call: Mapping[str, Any]) -> None:
        """Write it soon; returns then. Raises the driver's errors when it was tried for long enough."""
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            raise OperationalError("too many settlements wait for the database")
        written = asyncio.get_running_loop().create_future()
        one = Settlement(tenant, call, written, time.monotonic() + PATIENCE_S)
        waiting = self._waiting.setdefault(tenant, deque())
        waiting.append(one)
        if len(waiting) >= SETTLE_MANY:
            self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await asyncio.shield(written)

    async def drain(self) -> None:
        """Write what waits, now. What cannot be written is given up."""
        self._ends = True
        self._hurry.set()  # whoever pauses
        if self._task is not None:
            await asyncio.wait([self._task], timeout=WAIT_S)
            self._task.cancel()

    async def _run(self) -> None:
        took_all = True
        while self._waiting:
            await self._pause(in_need=not took_all)
            took_all = await self._write_all()
            if self._ends and not took_all:
                return

    async def _pause(self, *, in_need: bool) -> None:
        """Until it is time; where the database is away a little longer, however many wait."""
        if self._ends:
            return
        if in_need:
            await asyncio.sleep(RETRY_S)
            return
        if any(len(waiting) >= SETTLE_MANY for waiting in self._waiting.values()):
            return
        self._hurry.clear()
        try:
            async with asyncio.timeout(SETTLE_EVERY_S):
                await self._hurry.wait()
        except TimeoutError:
            pass

    async def _write_all(self) -> bool:
        """Some of each tenant's, for good; whether the database took them."""
        took_all, written = True, []
        for tenant in list(self._waiting):
            some = await self._write(tenant)
            took_all = took_all and some is not None
            written += some or []
        if not written:
            return took_all
        try:
            await self._tables.fetch(FLUSH_SQL)
        except OperationalError as error:  # they are settled again, which changes nothing where it was kept
            log.warning("settled chat calls may not be on the disk yet: %s", type(error).__name__)
            return False
        for one in written:
            self._end(one)
        return took_all

    async def _write(self, tenant: UUID) -> list[Settlement] | None:
        """Some of a tenant's: those that are written, or None where the database is away."""
        waiting = self._waiting[tenant]
        some = [waiting[place] for place in range(min(TOGETHER, len(waiting)))]
        try:
            calls = [one.call for one in some]
            await self._tables.call(SETTLE_SQL, lambda: {"tenant": tenant, "calls": calls})
        except OperationalError as error:
            log.warning("chat calls could not be settled yet: %s", type(error).__name__)
            for one in some:
                if time.monotonic() >= one.give_up_at:
                    self._end(one, error)
            return None
        except Exception as error:  # not the database's absence: no later try changes it
            log.exception("chat calls could not be settled")
            for one in some:
                self._end(one, error)
            return []
        return some

    def _end(self, one: Settlement, failed: Exception | None = None) -> None:
        """Whoever waits for it is told. Until now `ids_of` knew it, as over and not written."""
        waiting = self._waiting[one.tenant]
        waiting.remove(one)
        if not waiting:
            del self._waiting[one.tenant]
        if failed is None:
            one.written.set_result(None)
        else:
            one.written.set_exception(failed)
            one.written.exception()
