"""Chat calls that want to be reserved: one statement at a time carries what waits of many tenants.

An idle studio waits for nobody; in a busy one what comes while a statement is under way goes with the next, and each
counter is written once for many calls. Whatever goes wrong with one tenant is that tenant's alone: the statement gives
each a savepoint, waits a moment at most for counters that another transaction holds, and tells whose it could not have
(`chat_reserve_together`). Those are asked for again, until `PATIENCE_S` is over.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from psycopg import DatabaseError, Error, errors
from psycopg.rows import DictRow

from accounts.errors import StudioError
from accounts.ids import uuid7
from generation.books.calls import RESERVE_SQL, OpenCall, Wish, read_reserved, reserve_call

TENANTS = 16  # in one statement
CALLS = 64
AGAIN_S = 0.02  # after somebody else held a tenant's counters
PATIENCE_S = 5.0


class Asking(Protocol):
    """What brings a statement to the database (`booktables.Tables`)."""

    async def call(self, sql: str, ask: Callable[[], Mapping[str, Any]]) -> list[DictRow]:
        """The answer of one of the books' functions; `ask` says what it takes, at each try."""
        ...


@dataclass(slots=True, eq=False)
class Asked:
    """One call that wants to be reserved, and who waits for the answer."""

    wish: Wish
    give_up_at: float = field(default_factory=lambda: time.monotonic() + PATIENCE_S)
    answer: asyncio.Future[OpenCall] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def tell(self, found: OpenCall | StudioError) -> None:
        """The answer of the books."""
        if isinstance(found, StudioError):
            self.fail(found)
        elif not self.answer.done():
            self.answer.set_result(found)

    def fail(self, error: BaseException) -> None:
        """There is none."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # whoever waited may have gone: nothing is to be logged then


Groups = dict[UUID, list[Asked]]


class Reserving:
    """One for each process. `ended_of` knows a tenant's calls that hold no place any more; `note` hears of new ones."""

    def __init__(
        self, tables: Asking, *, ended_of: Callable[[UUID], Sequence[UUID]], note: Callable[[OpenCall], None]
    ) -> None:
        self._tables, self._ended_of, self._note = tables, ended_of, note
        self._waiting: OrderedDict[UUID, deque[Asked]] = OrderedDict()
        self._held: set[UUID] = set()  # tenants that are left alone for a moment
        self._carrying: asyncio.Task[None] | None = None

    def ask(self, wish: Wish) -> asyncio.Future[OpenCall]:
        """The call soon, or what refuses it: `QuotaExceeded`, `TooManyChats`, the driver's errors."""
        asked = Asked(wish)
        self._waiting.setdefault(wish.caller.tenant, deque()).append(asked)
        self._go_on()
        return asked.answer

    def _go_on(self) -> None:
        if self._carrying is None and self._waiting.keys() - self._held:
            self._carrying = asyncio.create_task(self._carry())

    async def _carry(self) -> None:
        """Everything that waits, some at a time, until nothing does."""
        try:
            while groups := self._take():
                try:
                    await self._reserve(groups)
                except BaseException as error:
                    for asked in (one for group in groups.values() for one in group):
                        asked.fail(error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._carrying = None

    def _take(self) -> Groups:
        """What goes together: the same number of each tenant's at most, and first who was not carried the last time."""
        tenants = [tenant for tenant in self._waiting if tenant not in self._held][:TENANTS]
        taken: Groups = {}
        for tenant in tenants:
            waiting = self._waiting[tenant]
            taken[tenant] = [waiting.popleft() for _ in range(min(CALLS // len(tenants), len(waiting)))]
            if waiting:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
        return taken

    async def _reserve(self, groups: Groups) -> None:
        ids: dict[UUID, list[UUID]] = {}
        lane = settings.STUDIO_LANE

        def ask() -> dict[str, Any]:
            # Anew for each try: one whose connection broke may have been written, and is the sweep's then.
            ids.update((tenant, [uuid7() for _ in group]) for tenant, group in groups.items())
            return {
                "tenants": [
                    reserve_call(
                        [asked.wish for asked in group], ids=ids[tenant], ended=self._ended_of(tenant), lane=lane
                    )
                    for tenant, group in groups.items()
                ]
            }

        found: dict[UUID, list[DictRow]] = {}
        for row in await self._tables.call(RESERVE_SQL, ask):
            found.setdefault(row["tenant"], []).append(row)
        for tenant, group in groups.items():
            rows = found[tenant]
            if rows[-1]["code"] is not None:
                self._fail(tenant, group, _error_of(rows[-1]))
                continue
            for asked, id, row in zip(group, ids[tenant], rows, strict=True):
                call = read_reserved(asked.wish, id, row, lane=lane)
                if isinstance(call, OpenCall):
                    self._note(call)
                asked.tell(call)

    def _fail(self, tenant: UUID, group: Sequence[Asked], error: Error) -> None:
        """Nothing was reserved for it; where somebody only held its counters, who has patience is asked for again."""
        is_held, now = isinstance(error, errors.LockNotAvailable), time.monotonic()
        again: list[Asked] = []
        for asked in group:
            if is_held and now < asked.give_up_at:
                again.append(asked)
            else:
                asked.fail(error)
        if again:
            self._waiting.setdefault(tenant, deque()).extendleft(reversed(again))
            self._held.add(tenant)
            asyncio.get_running_loop().call_later(AGAIN_S, self._let_go, tenant)

    def _let_go(self, tenant: UUID) -> None:
        self._held.discard(tenant)
        self._go_on()


def _error_of(row: DictRow) -> Error:
    """What the database has said, as its driver would have raised it."""
    try:
        kind: type[Error] = errors.lookup(row["code"])
    except KeyError:
        kind = DatabaseError
    return kind(row["why"])
