"""The one reader of the Redis stream `qs:bus` in this process.

Key: `qs:bus`, written by `generation/queue/progress.py` with the fields t (tenant), g (generation), k (kind), d (JSON).
Redis only makes streams faster: with it down the hub polls PostgreSQL and everything still arrives.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import orjson
from redis import asyncio as redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

STREAM = "qs:bus"
BLOCK_MS = 5000
BATCH = 200
PRIME = 300  # entries read at the start, so that a page that comes back after a restart finds the last preview
TIMEOUT_S = 1.0
RETRY_S = 1.0
REMEMBERED = 512  # generations whose newest events are kept
KINDS = frozenset({"queued", "progress", "preview", "succeeded", "failed", "canceled"})
Entry = tuple[bytes, dict[bytes, bytes]]  # what the client returns; its own types allow for every protocol version
FLEETING = ("progress", "preview")  # superseded by the next of their kind
NOTICE = "notice"  # from the hub's own poll, never from Redis: something that everybody should know has changed


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the stream; `id` is Redis's (milliseconds and a number), empty for what a poll found."""

    id: str
    tenant: UUID
    generation: UUID
    kind: str
    data: dict[str, Any]


def read_entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Event | None:
    """An entry as an event; None for what we do not understand (a newer release may write more)."""
    try:
        event = Event(
            id=entry_id.decode(),
            tenant=UUID(fields[b"t"].decode()),
            generation=UUID(fields[b"g"].decode()),
            kind=fields[b"k"].decode(),
            data=orjson.loads(fields.get(b"d") or b"{}"),
        )
    except (KeyError, ValueError):
        log.warning("an entry of %s that cannot be read: %s", STREAM, entry_id)
        return None
    return event if event.kind in KINDS else None


def entry_order(entry_id: str) -> tuple[int, int]:
    """Entry ids sort as two numbers. Raises ValueError for anything else."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: redis-py swallows a cancellation that meets it while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


class Bus:
    """Reads the stream for as long as it runs and hands every event to `deliver`."""

    def __init__(self, url: str, *, deliver: Callable[[Event], None]) -> None:
        self._url = url
        self._deliver = deliver
        self._recent: OrderedDict[UUID, dict[str, Event]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.last_id = ""
        self.is_up = False

    def start(self) -> None:
        """Begin to read; without a Redis URL nothing is read."""
        if self._url:
            self._task = asyncio.create_task(self._run(), name="bus")

    async def stop(self) -> None:
        """End the reader."""
        if self._task:
            await end_task(self._task)

    def recent(self, generation: UUID) -> dict[str, Event]:
        """The newest event of each kind of a generation, as far as they are remembered."""
        return self._recent.get(generation, {})

    async def _run(self) -> None:
        while True:
            client = redis.Redis.from_url(
                self._url, socket_connect_timeout=TIMEOUT_S, socket_timeout=BLOCK_MS / 1000 + TIMEOUT_S
            )
            try:
                await self._read(client)
            except (RedisError, OSError) as error:
                if self.is_up or not self.last_id:
                    log.warning("events come by poll only, Redis is down: %s", type(error).__name__)
                self.is_up = False
                self.last_id = self.last_id or "0-0"
                await asyncio.sleep(RETRY_S)
            except Exception:  # a bug of ours with one entry must not end the reader for good
                log.exception("reading the bus failed")
                await asyncio.sleep(RETRY_S)
            finally:
                await client.aclose()

    async def _read(self, client: redis.Redis) -> None:
        if not self.is_up:
            await self._catch_up(client)
        while True:
            found: list[tuple[bytes, list[Entry]]] = cast(
                Any, await client.xread({STREAM: self.last_id}, count=BATCH, block=BLOCK_MS)
            )
            if not self.is_up:
                log.info("events come by Redis")
            self.is_up = True
            for _, entries in found or []:
                for entry_id, fields in entries:
                    self._take(entry_id, fields)

    async def _catch_up(self, client: redis.Redis) -> None:
        """Start `PRIME` entries before the end, or where an interruption began, whichever is later."""
        newest: list[Entry] = cast(Any, await client.xrevrange(STREAM, count=PRIME))
        for entry_id, fields in reversed(newest):
            if not self.last_id or entry_order(entry_id.decode()) > entry_order(self.last_id):
                self._take(entry_id, fields)
        # After a flush Redis may count from anew only if its clock went back; ids are its milliseconds.
        self.last_id = newest[0][0].decode() if newest else "0-0"

    def _take(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        self.last_id = entry_id.decode()
        event = read_entry(entry_id, fields)
        if event is None:
            return
        self._remember(event)
        self._deliver(event)

    def _remember(self, event: Event) -> None:
        kinds = self._recent.setdefault(event.generation, {})
        if event.kind not in FLEETING:
            kinds.clear()  # a new state: earlier progress is no longer true
        kinds[event.kind] = event
        self._recent.move_to_end(event.generation)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
