"""The connections over which the books of chat calls are kept: few of them, each statement a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection, OperationalError
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from accounts.meters import show_pool
from qwenstudio.connections import connection_parameters
from qwenstudio.door.database import SCOPE_SQL

CONNECTIONS = 3
WAIT_S = 5.0  # for a free one


class Tables:
    """The connections. A statement is a transaction of its own; one whose connection was dead is sent again."""

    def __init__(self) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] | None = None

    async def open(self) -> None:
        """Make the pool, without connecting."""
        self._pool = AsyncConnectionPool(
            kwargs={**connection_parameters(), "autocommit": True, "row_factory": dict_row, "prepare_threshold": 1},
            connection_class=AsyncConnection[DictRow],
            min_size=0,
            max_size=CONNECTIONS,
            timeout=WAIT_S,
            max_idle=60,
            open=False,
        )
        await self._pool.open()
        show_pool("chat", lambda: self._pool, most=CONNECTIONS)

    async def close(self) -> None:
        """Close them all."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def call(self, sql: str, ask: Callable[[], Mapping[str, Any]]) -> list[DictRow]:
        """The answer of one of the books' functions; `ask` says what it takes, at each try."""

        async def run(connection: AsyncConnection[DictRow]) -> list[DictRow]:
            return await (await connection.execute(sql, (orjson.dumps(ask()).decode(),))).fetchall()

        return await self._with(run)

    async def fetch(self, sql: str) -> list[DictRow]:
        """Rows that are no tenant's."""

        async def run(connection: AsyncConnection[DictRow]) -> list[DictRow]:
            return await (await connection.execute(sql)).fetchall()

        return await self._with(run)

    async def fetch_scoped(self, sql: str, *, tenant: UUID, **parameters: object) -> list[DictRow]:
        """Rows in a tenant's scope."""

        async def run(connection: AsyncConnection[DictRow]) -> list[DictRow]:
            async with connection.transaction():
                await connection.execute(SCOPE_SQL, (str(tenant),))
                return await (await connection.execute(sql, {"tenant": tenant, **parameters})).fetchall()

        return await self._with(run)

    async def _with(
        self, run: Callable[[AsyncConnection[DictRow]], Coroutine[Any, Any, list[DictRow]]]
    ) -> list[DictRow]:
        if self._pool is None:
            raise OperationalError("the pool is not open")
        tried = 0
        while True:
            try:
                async with self._pool.connection() as connection:
                    return await run(connection)
            except PoolTimeout:
                raise
            except OperationalError:
                tried += 1  # a database that was restarted has left us as many dead ones as the pool holds
                if tried > CONNECTIONS:
                    raise
