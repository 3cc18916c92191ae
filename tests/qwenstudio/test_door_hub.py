"""Mailboxes and the reader of the bus: bounded, true to tenants, and right without Redis."""

from __future__ import annotations

import asyncio
from uuid import UUID

import orjson
import pytest
from redis import Redis

from accounts.errors import RateLimited
from accounts.ids import uuid7
from qwenstudio.door import hub as hub_module
from qwenstudio.door.bus import STREAM, Bus, Event
from qwenstudio.door.database import Database
from qwenstudio.door.hub import WAITING, Hub, Mailbox
from tests.qwenstudio.exchange import PATIENCE_S

TENANT, OTHER = uuid7(), uuid7()


def make_event(kind: str, *, generation: UUID, tenant: UUID = TENANT, number: int = 1) -> Event:
    return Event(id=f"{number}-0", tenant=tenant, generation=generation, kind=kind, data={"step": number})


async def drain(mailbox: Mailbox) -> list[Event]:
    found = []
    while (event := await mailbox.get(0)) is not None:
        found.append(event)
    return found


def publish(redis: Redis, kind: str, *, generation: UUID, tenant: UUID = TENANT, **data: object) -> str:
    """As `generation/queue/progress.py` does."""
    entry = redis.xadd(STREAM, {"t": str(tenant), "g": str(generation), "k": kind, "d": orjson.dumps(data)})
    return str(entry.decode())


def test_reader_that_stands_still_loses_previews_first_and_the_end_never() -> None:
    async def scene() -> None:
        mine = uuid7()
        mailbox = Mailbox(tenant=TENANT, generation=mine)
        for number in range(1, 30):
            mailbox.put(make_event("progress", generation=mine, number=number))
        for number in range(1000):
            mailbox.put(make_event("preview", generation=mine, number=number))
        mailbox.put(make_event("succeeded", generation=mine))
        found = await drain(mailbox)
        assert len(found) <= WAITING
        assert [event.kind for event in found].count("progress") == 29
        assert found[-1].kind == "succeeded"
        assert found[-2].data == {"step": 999}  # of the previews the newest are kept

    asyncio.run(scene())


def test_many_ends_all_arrive() -> None:
    async def scene() -> None:
        mailbox = Mailbox(tenant=TENANT, user=uuid7())
        ended = [uuid7() for _ in range(5 * WAITING)]
        for generation in ended:
            mailbox.put(make_event("running", generation=generation))
            mailbox.put(make_event("progress", generation=generation))
            mailbox.put(make_event("succeeded", generation=generation))
        found = await drain(mailbox)
        assert [event.generation for event in found if event.kind == "succeeded"] == ended
        assert len(found) <= len(ended) + WAITING

    asyncio.run(scene())


def test_events_reach_their_tenant_only() -> None:
    async def scene() -> None:
        hub = Hub(Database(), redis_url="")
        generation = uuid7()
        boxes = [
            Mailbox(tenant=TENANT, generation=generation),
            Mailbox(tenant=OTHER, generation=generation),  # as if ids collided, or somebody guessed one
            Mailbox(tenant=TENANT, user=uuid7()),
            Mailbox(tenant=OTHER, user=uuid7()),
        ]
        with hub.open(boxes[0]), hub.open(boxes[1]), hub.open(boxes[2]), hub.open(boxes[3]):
            hub.deliver(make_event("progress", generation=generation))
            counts = [len(await drain(box)) for box in boxes]
        assert counts == [1, 0, 1, 0]
        hub.deliver(make_event("progress", generation=generation))
        assert not await drain(boxes[0])  # closed: nothing more comes

    asyncio.run(scene())


def test_one_tenant_cannot_take_all_mailboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAILBOXES_PER_TENANT", 2)
    hub = Hub(Database(), redis_url="")
    first, second, third = (Mailbox(tenant=TENANT, generation=uuid7()) for _ in range(3))
    with hub.open(first), hub.open(second):
        with pytest.raises(RateLimited), hub.open(third):
            pass
        with hub.open(Mailbox(tenant=OTHER, generation=uuid7())):
            pass
    with hub.open(third):
        pass


def test_bus_reads_what_comes_and_remembers_the_newest(redis: Redis, redis_url: str) -> None:
    async def scene() -> None:
        generation = uuid7()
        publish(redis, "progress", generation=generation, step=1, steps=4)
        publish(redis, "preview", generation=generation, data="data:,1")
        found: list[Event] = []
        bus = Bus(redis_url, deliver=found.append)
        bus.start()
        await wait_until(lambda: bus.is_up or len(found) == 2)
        last = publish(redis, "progress", generation=generation, step=2, steps=4)
        redis.xadd(STREAM, {"t": "no uuid", "g": "x", "k": "progress"})  # not ours: skipped, not fatal
        publish(redis, "succeeded", generation=uuid7())
        await wait_until(lambda: len(found) == 4)
        assert bus.recent(generation)["progress"].id == last
        assert bus.recent(generation)["preview"].data == {"data": "data:,1"}
        publish(redis, "succeeded", generation=generation)
        await wait_until(lambda: len(found) == 5)
        assert set(bus.recent(generation)) == {"succeeded"}  # earlier progress is no longer true
        await bus.stop()

    asyncio.run(scene())


def test_bus_goes_on_after_a_flush(redis: Redis, redis_url: str) -> None:
    async def scene() -> None:
        found: list[Event] = []
        bus = Bus(redis_url, deliver=found.append)
        bus.start()
        await wait_until(lambda: bus.is_up or bus.last_id == "0-0")
        publish(redis, "progress", generation=uuid7())
        await wait_until(lambda: len(found) == 1)
        redis.flushall()
        publish(redis, "progress", generation=uuid7())
        await wait_until(lambda: len(found) == 2)
        await bus.stop()

    asyncio.run(scene())


def test_bus_without_redis_only_waits() -> None:
    async def scene() -> None:
        bus = Bus("redis://127.0.0.1:1/0", deliver=lambda event: None)
        bus.start()
        await asyncio.sleep(0.2)
        assert not bus.is_up
        await asyncio.wait_for(bus.stop(), PATIENCE_S)

    asyncio.run(scene())


@pytest.mark.parametrize("pause_s", [0.0, 0.001, 0.003, 0.01, 0.03, 0.1])
def test_bus_stops_whatever_it_is_doing(redis_url: str, pause_s: float) -> None:
    """redis-py swallows a cancellation while it connects."""

    async def scene() -> None:
        bus = Bus(redis_url, deliver=lambda event: None)
        bus.start()
        await asyncio.sleep(pause_s)
        await asyncio.wait_for(bus.stop(), PATIENCE_S)

    asyncio.run(scene())


async def wait_until(condition: object, seconds: float = PATIENCE_S) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)
