"""The door's own way to PostgreSQL: two connections, and a handful of statements.

It reads, and writes two things: when a key was last used, and answers of conversations (`answering.py`). Every
statement about a tenant runs in a transaction of its own with that tenant in scope, so that row-level security holds
here as everywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from psycopg import AsyncConnection, OperationalError
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from accounts.meters import show_pool
from generation.domain.notices import NOTICES_SQL, Notices, read_notices
from generation.domain.present import GENERATION_SQL, IMAGES_SQL, PLACE_SQL, present_generation, read_place
from generation.enums import Status
from qwenstudio.connections import connection_parameters
from qwenstudio.door.truth import STATES_SQL, WORK_LIMIT, WORK_SQL, State, Truth, state_of

CONNECTIONS = 2
WAIT_S = 5.0  # for a free one
TOGETHER = 10  # generations in one reading

SCOPE_SQL = "SELECT set_config('app.tenant', %s, true)"


class Database:
    """A pool that is opened with the server and closed with it."""

    def __init__(self) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] | None = None

    async def open(self) -> None:
        """Make the pool; it connects when first asked, so that the door starts without a database."""
        self._pool = AsyncConnectionPool(
            kwargs={**connection_parameters(), "autocommit": True, "row_factory": dict_row},
            connection_class=AsyncConnection[DictRow],
            min_size=0,
            max_size=CONNECTIONS,
            timeout=WAIT_S,
            max_idle=60,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        await self._pool.open()
        show_pool("door", lambda: self._pool, most=CONNECTIONS)

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def fetch_one(self, sql: str, *, tenant: UUID | None = None, **parameters: object) -> dict[str, Any] | None:
        """The first row, in the tenant's scope where one is given."""
        rows = await self.fetch_all(sql, tenant=tenant, **parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, *, tenant: UUID | None = None, **parameters: object) -> list[dict[str, Any]]:
        """All rows, in the tenant's scope where one is given."""
        async with self.scoped(tenant) as connection:
            cursor = await connection.execute(sql, {"tenant": tenant, **parameters})
            return await cursor.fetchall()

    async def execute(self, sql: str, *, tenant: UUID, **parameters: object) -> None:
        """Run a statement that changes something, in the tenant's scope."""
        async with self.scoped(tenant) as connection:
            await connection.execute(sql, {"tenant": tenant, **parameters})

    @asynccontextmanager
    async def scoped(self, tenant: UUID | None) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection in a transaction with the tenant in scope."""
        if self._pool is None:
            raise OperationalError("the pool is not open")
        async with self._pool.connection() as connection, connection.transaction():
            if tenant is not None:
                await connection.execute(SCOPE_SQL, (str(tenant),))
            yield connection

    async def read_states(
        self, *, tenant: UUID, generations: Collection[UUID], users: Collection[UUID]
    ) -> dict[UUID, State]:
        """The states of these generations and of what these members have under way."""
        rows = await self.fetch_all(STATES_SQL, tenant=tenant, generations=list(generations), users=list(users))
        return {row["id"]: state_of(row) for row in rows}

    async def read_truth(self, *, tenant: UUID, generation: UUID) -> Truth | None:
        """One generation as it is now; None where the tenant has no such."""
        async with self.scoped(tenant) as connection:
            found = await _read_truths(connection, [generation])
        return found[0] if found else None

    async def read_truths(self, *, tenant: UUID, generations: Sequence[UUID]) -> AsyncIterator[Truth]:
        """These generations as they are now, some at a time: two prompts and an answer may be half a megabyte."""
        for start in range(0, len(generations), TOGETHER):
            async with self.scoped(tenant) as connection:
                found = await _read_truths(connection, list(generations[start : start + TOGETHER]))
            while found:
                yield found.pop(0)

    async def read_notices(self) -> Notices:
        """What everybody who waits in this lane should know."""
        row = await self.fetch_one(NOTICES_SQL, lane=settings.STUDIO_LANE)
        return read_notices(row or {"paused": (), "drawn": False})

    async def read_work(self, *, tenant: UUID, user: UUID, ended_after_ms: int) -> list[UUID]:
        """What a member has under way, and what ended after a moment (milliseconds since 1970; 0: nothing ended)."""
        rows = await self.fetch_all(
            WORK_SQL, tenant=tenant, user=user, ended_after_ms=ended_after_ms or None, limit=WORK_LIMIT
        )
        return [row["id"] for row in rows]


async def _read_truths(connection: AsyncConnection[DictRow], ids: list[UUID]) -> list[Truth]:
    """The generations with these ids, in this order, by the statements and with the JSON of the API."""
    if not ids:
        return []
    rows = await (await connection.execute(GENERATION_SQL, {"ids": ids})).fetchall()
    images: dict[UUID, list[DictRow]] = {}
    for image in await (await connection.execute(IMAGES_SQL, {"ids": ids})).fetchall():
        images.setdefault(image["generation_id"], []).append(image)
    waiting = [row["id"] for row in rows if row["status"] == Status.QUEUED]
    places = {}
    if waiting:
        found = await (await connection.execute(PLACE_SQL, {"ids": waiting})).fetchall()
        places = {row["id"]: read_place(row) for row in found}
    truths = {
        row["id"]: Truth(
            id=row["id"],
            state=state_of(row),
            body=present_generation(row, images.get(row["id"], []), places.get(row["id"])),
        )
        for row in rows
    }
    return [truths[id] for id in ids if id in truths]
