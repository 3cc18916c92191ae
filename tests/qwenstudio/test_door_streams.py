"""Event streams and `Prefer: wait` through the door, with the bus and without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone
from redis import Redis

from accounts.domain.closing import ask_deletion
from accounts.domain.keys import revoke_key
from accounts.domain.members import remove_member
from accounts.domain.passes import PASS_SECONDS
from accounts.domain.tenants import change_tenant, restore_tenant, suspend_tenant
from accounts.ids import uuid7
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.pools import pause_pool, resume_pool
from generation.models import Generation, Pool
from generation.queue.progress import publish
from qwenstudio.door import database as database_module
from qwenstudio.door import hub as hub_module
from qwenstudio.door import openings as openings_module
from qwenstudio.door import streams as streams_module
from qwenstudio.door.app import Door
from qwenstudio.door.callers import Credential
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_key
from tests.generation.api.calls import BODY, finish, rows, submitted
from tests.qwenstudio.doors import pass_cookie, running_door
from tests.qwenstudio.exchange import PATIENCE_S, Exchange, make_scope

MANY = 20
NOBODY = "redis://127.0.0.1:1/0"
Scene = Callable[[Door], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def _model(db: None) -> None:
    offer_sleeping_model()


def play(scene: Scene) -> None:
    """Run a scene with a door; Django's own connections of its helper threads are closed."""

    async def run() -> None:
        async with running_door() as door:
            await scene(door)
        await in_thread(lambda: connections.close_all())

    asyncio.run(run())


async def in_thread(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Django's side, beside the loop."""
    return await sync_to_async(call, thread_sensitive=True)(*arguments, **named)


def watch(
    door: Door, person: Person, generation: UUID | None = None, **headers: str
) -> tuple[Exchange, asyncio.Task[Any]]:
    """Open a stream: of one generation, or of all the person's work."""
    path = f"/api/v1/images/{generation}/events" if generation else "/api/v1/events"
    credential = {} if any(name.lower() == "cookie" for name in headers) else {"X-Api-Key": person.secret}
    exchange = Exchange(make_scope("GET", path, headers={**credential, **headers}))
    return exchange, asyncio.create_task(exchange.run(door))


async def leave(exchange: Exchange, task: asyncio.Task[Any]) -> None:
    """The client goes."""
    exchange.left.set()
    await asyncio.wait_for(task, PATIENCE_S)


def tell(person: Person, generation: UUID, kind: str, **data: Any) -> None:
    """What a worker says on the bus."""
    assert publish(tenant=person.tenant.pk, generation=generation, kind=kind, data=data)


def start(person: Person, generation: UUID, step: int = 0) -> None:
    """What a claim and its renewals write."""
    with in_tenant(person.tenant.pk):
        Generation.objects.filter(pk=generation).update(status="running", step=step, started_at=timezone.now())


def cancel(person: Person, generation: UUID) -> None:
    with in_tenant(person.tenant.pk):
        cancel_generation(generation)


def test_stream_tells_the_way_of_one_picture(alice: Person, redis: Redis, media: Path) -> None:
    generation = submitted(alice)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, alice, generation)
        await exchange.until(b"event: queued")
        assert exchange.headers["content-type"].startswith("text/event-stream")
        assert exchange.headers["x-accel-buffering"] == "no"
        assert exchange.headers["cache-control"] == "no-store"
        await in_thread(start, alice, generation)
        await door.house.hub.poll()  # or the next one would tell of the start between two steps
        await exchange.until(b"event: progress")
        for step in range(1, 5):
            await in_thread(tell, alice, generation, "progress", step=step, steps=4)
            await in_thread(tell, alice, generation, "preview", data=f"data:,{step}", index=0)
        await exchange.until(b"data:,4")
        await in_thread(finish, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await asyncio.wait_for(task, PATIENCE_S)  # it ends by itself
        events = exchange.events
        assert events[0]["data"]["id"] == str(generation) and events[0]["data"]["status"] == "queued"
        steps = [event["data"]["step"] for event in events if event["event"] == "progress"]
        assert steps[-4:] == [1, 2, 3, 4]
        assert [event["data"]["data"] for event in events if event["event"] == "preview"] == [
            f"data:,{n}" for n in range(1, 5)
        ]
        assert events[-1]["event"] == "succeeded"
        api = orjson.loads((await in_thread(alice.api.get, f"/api/v1/images/{generation}")).content)
        assert events[-1]["data"] == api  # the whole generation, as the API tells it
        numbers = [event["id"] for event in events if event["event"] == "preview"]
        assert numbers == sorted(numbers) and all("-" in number for number in numbers)

    play(scene)


def test_stream_of_a_finished_one_tells_it_and_ends(alice: Person, media: Path) -> None:
    generation = submitted(alice)
    finish(alice, generation, media)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, alice, generation)
        await asyncio.wait_for(task, PATIENCE_S)
        assert [event["event"] for event in exchange.events] == ["succeeded"]

    play(scene)


def test_late_watcher_sees_the_last_preview_and_resumes_behind_it(alice: Person, redis: Redis) -> None:
    generation = submitted(alice)
    start(alice, generation, step=2)
    tell(alice, generation, "progress", step=3, steps=4)
    tell(alice, generation, "preview", data="data:,old", index=0)

    async def scene(door: Door) -> None:
        first, task = watch(door, alice, generation)
        await first.until(b"data:,old")
        last = first.events[-1]["id"]
        await leave(first, task)
        second, task = watch(door, alice, generation, **{"Last-Event-ID": last})
        await second.until(b"event: progress")
        await in_thread(tell, alice, generation, "preview", data="data:,new", index=0)
        await second.until(b"data:,new")
        assert b"data:,old" not in second.received
        await leave(second, task)

    play(scene)


def test_stream_is_right_without_redis(alice: Person, media: Path, settings: Any) -> None:
    generation = submitted(alice)
    settings.REDIS_URL = NOBODY

    async def scene(door: Door) -> None:
        exchange, task = watch(door, alice, generation)
        await exchange.until(b"event: queued")
        await in_thread(start, alice, generation, 2)
        await exchange.until(b"event: progress")
        assert exchange.events[-1]["data"]["step"] == 2
        await in_thread(finish, alice, generation, media)
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.events[-1]["event"] == "succeeded"

    play(scene)


def test_truth_is_repeated(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "KEEP_ALIVE_S", 0.3)
    generation = submitted(alice)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, alice, generation)
        async with asyncio.timeout(PATIENCE_S):
            while len(exchange.events) < 3:
                await asyncio.sleep(0.05)
        assert {event["event"] for event in exchange.events} == {"queued"}
        await leave(exchange, task)

    play(scene)


def test_all_work_is_ones_own(alice: Person, bob: Person, mallory: Person, media: Path, redis: Redis) -> None:
    mine, second = submitted(bob), submitted(bob)
    alices, foreign = submitted(alice), submitted(mallory)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, bob)
        await exchange.until(str(second).encode())
        for person, generation in ((alice, alices), (mallory, foreign), (bob, mine)):
            await in_thread(start, person, generation)
            await in_thread(tell, person, generation, "progress", step=1, steps=4)
        await exchange.until(b'"step":1')
        await in_thread(finish, bob, mine, media)
        await in_thread(tell, bob, mine, "succeeded")
        await exchange.until(b"event: succeeded")
        new = await in_thread(submitted, bob)  # submitted while the stream is open
        await exchange.until(str(new).encode())
        assert not task.done()
        assert {event["data"]["id"] for event in exchange.events} == {str(mine), str(second), str(new)}
        ends = [event for event in exchange.events if event["event"] == "succeeded"]
        assert len(ends) == 1
        await leave(exchange, task)

    play(scene)


def test_everybody_hears_at_once_that_the_queue_rests(alice: Person, mallory: Person, settings: Any) -> None:
    settings.REDIS_URL = NOBODY  # by the poll alone
    Pool.objects.create(lane="blue", name="demo")

    async def scene(door: Door) -> None:
        watched = [watch(door, alice), watch(door, mallory)]
        for exchange, _ in watched:
            await exchange.until(b"retry:")
        await door.house.hub.poll_notices()  # what is so already is no news
        await in_thread(rest)
        for exchange, _ in watched:
            await exchange.until(b"event: notice\ndata: {}")
            exchange.received = b""
        await in_thread(go_on)
        for exchange, task in watched:
            await exchange.until(b"event: notice\ndata: {}")
            await leave(exchange, task)

    def rest() -> None:
        with across_tenants():
            pause_pool(lane="blue", name="demo", reason="new disks", by=None)

    def go_on() -> None:
        with across_tenants():
            resume_pool(lane="blue", name="demo")

    play(scene)


def test_end_that_was_slept_through_is_told(bob: Person, media: Path, redis: Redis) -> None:
    generation = submitted(bob)
    before = f"{int((time.time() - 1) * 1000)}-0"
    finish(bob, generation, media)
    redis.flushall()  # nothing of it is left on the bus

    async def scene(door: Door) -> None:
        exchange, task = watch(door, bob, **{"Last-Event-ID": before})
        await exchange.until(b"event: succeeded")
        await leave(exchange, task)
        fresh, task = watch(door, bob)
        await fresh.until(b"retry")
        await asyncio.sleep(0.3)
        assert fresh.events == []
        await leave(fresh, task)

    play(scene)


def test_foreign_and_random_ids_get_one_answer(alice: Person, mallory: Person) -> None:
    foreign = submitted(alice)

    async def scene(door: Door) -> None:
        found = []
        for generation in (foreign, uuid7(), "nonsense"):
            exchange = Exchange(
                make_scope("GET", f"/api/v1/images/{generation}/events", headers={"X-Api-Key": mallory.secret})
            )
            await exchange.run(door)
            body = {name: value for name, value in exchange.json.items() if name not in ("request_id", "instance")}
            found.append((exchange.status, body))
        assert found[0] == found[1] == found[2]
        assert found[0][0] == 404

    play(scene)


def test_key_without_the_scope_is_refused(alice: Person) -> None:
    generation = submitted(alice)
    _, secret = make_key(alice.tenant, alice.user, scopes=["usage:read"])

    async def scene(door: Door) -> None:
        exchange = Exchange(make_scope("GET", f"/api/v1/images/{generation}/events", headers={"X-Api-Key": secret}))
        await exchange.run(door)
        assert (exchange.status, exchange.json["code"]) == (403, "not_allowed")

    play(scene)


def end_right(how: str, alice: Person, bob: Person) -> None:
    """Alice takes Bob's right to his stream away, in one of the ways there are."""
    with in_tenant(alice.tenant.pk):
        if how == "revoked":
            revoke_key(by=alice.caller, key_id=bob.key.pk)
        elif how == "removed":
            remove_member(by=alice.caller, user_id=bob.user.pk)
        elif how == "closing":
            ask_deletion(by=alice.caller, confirm=alice.tenant.name)
        elif how == "networks":
            change_tenant(by=alice.caller, address="192.0.2.1", networks=["192.0.2.0/24"])
        else:
            suspend_tenant(alice.tenant, reason="unpaid")


@pytest.mark.parametrize(("how", "way"), [
    ("revoked", "key"), ("suspended", "key"), ("suspended", "pass"), ("closing", "key"), ("closing", "pass"),
    ("networks", "key"), ("networks", "pass"), ("removed", "key"), ("removed", "pass"),
])  # fmt: skip
def test_stream_ends_with_the_right_to_it(alice: Person, bob: Person, how: str, way: str) -> None:
    generation = submitted(bob)
    headers = {"Cookie": pass_cookie(bob)} if way == "pass" else {}

    async def scene(door: Door) -> None:
        exchange, task = watch(door, bob, generation, **headers)
        await exchange.until(b"event: queued")
        await in_thread(end_right, how, alice, bob)
        await asyncio.wait_for(task, PATIENCE_S)  # the bound is of `test_door_sessions.py`

    play(scene)


def test_stream_of_a_tenant_that_was_brought_back(alice: Person) -> None:
    generation = submitted(alice)

    async def scene(door: Door) -> None:
        await in_thread(suspend_tenant, alice.tenant, reason="unpaid")
        refused, task = watch(door, alice, generation)
        await task
        assert (refused.status, refused.json["code"]) == (403, "tenant_suspended")
        await in_thread(restore_tenant, alice.tenant, reason="paid")
        exchange, task = watch(door, alice, generation)
        await exchange.until(b"event: queued")
        await leave(exchange, task)

    play(scene)


def test_browser_streams_by_its_pass(bob: Person) -> None:
    generation = submitted(bob)
    cookie = pass_cookie(bob)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, bob, generation, Cookie=cookie)
        await exchange.until(b"event: queued")
        await leave(exchange, task)

    play(scene)


def test_client_that_reads_nothing_stops_nobody(alice: Person, redis: Redis, media: Path) -> None:
    generation = submitted(alice)

    async def scene(door: Door) -> None:
        path = f"/api/v1/images/{generation}/events"
        stalled = [
            Exchange(make_scope("GET", path, headers={"X-Api-Key": alice.secret}), stalled=True) for _ in range(10)
        ]
        tasks = [asyncio.create_task(one.run(door)) for one in stalled]
        reader, task = watch(door, alice, generation)
        await reader.until(b"event: queued")
        for number in range(200):
            await in_thread(tell, alice, generation, "preview", data=f"data:,{number}", index=0)
        await reader.until(b"data:,199")
        await in_thread(finish, alice, generation, media)
        await in_thread(tell, alice, generation, "succeeded")
        await asyncio.wait_for(task, PATIENCE_S)
        assert reader.events[-1]["event"] == "succeeded"
        for one in stalled:
            one.left.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    play(scene)


def test_streams_of_one_caller_are_bounded(alice: Person, bob: Person, settings: Any) -> None:
    settings.STREAMS_PER_CALLER = 2

    async def scene(door: Door) -> None:
        first, second = watch(door, alice), watch(door, alice)
        for exchange, _ in (first, second):
            await exchange.until(b"retry")
        third, task = watch(door, alice)
        await asyncio.wait_for(task, PATIENCE_S)
        assert (third.status, third.json["code"]) == (429, "rate_limited")
        assert int(third.headers["retry-after"]) > 0
        other, task = watch(door, bob)  # another caller is not held up
        await other.until(b"retry")
        await leave(other, task)
        await leave(*first)
        again, task = watch(door, alice)  # a place is free
        await again.until(b"retry")
        await leave(again, task)
        await leave(*second)

    play(scene)


def test_more_keys_of_one_member_are_not_more_streams(
    alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.STREAMS_PER_CALLER = 1
    monkeypatch.setattr(openings_module, "KEYS", 2)
    keys = [make_key(alice.tenant, alice.user)[1] for _ in range(3)]

    async def scene(door: Door) -> None:
        held = [watch(door, replace(alice, secret=secret)) for secret in keys[:2]]
        for exchange, _ in held:
            await exchange.until(b"retry")
        third, task = watch(door, replace(alice, secret=keys[2]))
        await asyncio.wait_for(task, PATIENCE_S)
        assert (third.status, third.json["code"]) == (429, "rate_limited")
        other, task = watch(door, bob)
        await other.until(b"retry")
        for exchange in (*held, (other, task)):
            await leave(*exchange)
        assert door.house.openings._held == {}

    play(scene)


def test_openings_of_one_caller_are_bounded(alice: Person, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.STREAMS_PER_CALLER = 3
    monkeypatch.setattr(openings_module, "PER_WINDOW", 3)

    async def scene(door: Door) -> None:
        for _ in range(3):
            exchange, task = watch(door, alice)
            await exchange.until(b"retry")
            await leave(exchange, task)
        exchange, task = watch(door, alice)
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.status == 429

    play(scene)


def test_stream_ends_with_its_pass(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has signed out, or changed the password, is not watched by the thief of a session for ever."""
    monkeypatch.setattr(streams_module, "RECHECK_S", 0.2)
    cookie = pass_cookie(bob)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, bob, Cookie=cookie)
        await exchange.until(b"retry")
        await asyncio.sleep(0.5)
        assert not task.done()
        ends_at = time.time() + PASS_SECONDS
        monkeypatch.setattr(Credential, "has_expired", lambda self: self.expires_at <= ends_at)
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.status == 200

    play(scene)


@pytest.mark.parametrize("last", ["9223372036854775807-0", f"{2**42}-0", "-1-0", "x"])
def test_impossible_last_event_ids_are_no_error(alice: Person, last: str) -> None:
    generation = submitted(alice)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, alice, **{"Last-Event-ID": last})
        await exchange.until(str(generation).encode())
        assert exchange.status == 200
        await leave(exchange, task)

    play(scene)


def test_much_work_is_told_newest_and_unfinished_first(
    bob: Person, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WORK_LIMIT", 3)
    monkeypatch.setattr(database_module, "TOGETHER", 2)
    before = f"{int((time.time() - 1) * 1000)}-0"
    waiting = submitted(bob)
    ended = [submitted(bob) for _ in range(4)]
    for generation in ended:
        finish(bob, generation, media)

    async def scene(door: Door) -> None:
        exchange, task = watch(door, bob, **{"Last-Event-ID": before})
        await exchange.until(str(ended[-1]).encode())
        told = [event["data"]["id"] for event in exchange.events]
        assert told == [str(waiting), *(str(one) for one in ended[-2:])]
        await leave(exchange, task)

    play(scene)


# Prefer: wait


def wait(door: Door, person: Person, prefer: str, **headers: str) -> tuple[Exchange, asyncio.Task[Any]]:
    """A submit that waits."""
    exchange = Exchange(
        make_scope(
            "POST", "/api/v1/images",
            headers={"X-Api-Key": person.secret, "Content-Type": "application/json", "Prefer": prefer, **headers},
        ),
        body=orjson.dumps(BODY),
    )  # fmt: skip
    return exchange, asyncio.create_task(exchange.run(door))


async def new_row(person: Person) -> UUID:
    """The id of the generation that a waiting submit has stored."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await in_thread(rows, person)):
            await asyncio.sleep(0.02)
    return UUID(str(found[0].pk))


@pytest.mark.parametrize("with_bus", [True, False])
def test_wait_answers_with_the_picture(
    alice: Person, media: Path, redis: Redis, settings: Any, with_bus: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_bus:
        settings.REDIS_URL = NOBODY

    async def scene(door: Door) -> None:
        exchange, task = wait(door, alice, "wait=30")
        generation = await new_row(alice)
        await asyncio.sleep(0.1)
        assert not task.done()
        await in_thread(finish, alice, generation, media)
        if with_bus:
            await in_thread(tell, alice, generation, "succeeded")
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.status == 200
        assert exchange.headers["preference-applied"] == "wait=30"
        assert exchange.json["id"] == str(generation) and exchange.json["status"] == "succeeded"
        assert exchange.json["images"]
        assert exchange.headers["location"].endswith(str(generation))

    play(scene)


def test_wait_answers_202_when_the_time_is_up(alice: Person) -> None:
    async def scene(door: Door) -> None:
        started = time.monotonic()
        exchange, task = wait(door, alice, "respond-async, wait=1")
        await asyncio.wait_for(task, PATIENCE_S)
        assert time.monotonic() - started >= 1
        assert exchange.status == 202
        assert exchange.json["status"] == "queued"
        assert "preference-applied" not in exchange.headers

    play(scene)


def test_wait_answers_a_cancelled_one_at_once(alice: Person, redis: Redis) -> None:
    async def scene(door: Door) -> None:
        exchange, task = wait(door, alice, "wait=30")
        generation = await new_row(alice)
        await in_thread(cancel, alice, generation)
        await asyncio.wait_for(task, PATIENCE_S)
        assert (exchange.status, exchange.json["status"]) == (200, "canceled")

    play(scene)


@pytest.mark.parametrize(
    "prefer", ["wait=0", "wait=61", "wait=-1", "wait=1.5", "wait=x", "wait", "wait=", "wait=9999999999999"]
)
def test_wrong_wait_is_refused_and_nothing_stored(alice: Person, prefer: str) -> None:
    async def scene(door: Door) -> None:
        exchange, task = wait(door, alice, prefer)
        await asyncio.wait_for(task, PATIENCE_S)
        assert exchange.status == 400
        assert "Prefer" in exchange.json["errors"]

    play(scene)
    assert rows(alice) == []


def test_refused_submit_waits_for_nothing(alice: Person) -> None:
    async def scene(door: Door) -> None:
        exchange = Exchange(
            make_scope("POST", "/api/v1/images", headers={"X-Api-Key": "qs_live_no", "Prefer": "wait=30"}),
            body=orjson.dumps(BODY),
        )
        await asyncio.wait_for(exchange.run(door), PATIENCE_S)
        assert exchange.status == 401

    play(scene)


def test_client_that_leaves_cancels_no_picture(alice: Person) -> None:
    async def scene(door: Door) -> None:
        exchange, task = wait(door, alice, "wait=30")
        await new_row(alice)
        await asyncio.sleep(0.2)
        await leave(exchange, task)

    play(scene)
    assert rows(alice)[0].status == "queued"


def test_server_that_stops_lets_waiters_and_streams_go(alice: Person) -> None:
    generation = submitted(alice)

    async def scene(door: Door) -> None:
        stream, first = watch(door, alice, generation)
        waiter, second = wait(door, alice, "wait=60")
        await stream.until(b"event: queued")
        async with asyncio.timeout(PATIENCE_S):
            while len(await in_thread(rows, alice)) < 2:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        door.house.hub.begin_close()
        await asyncio.wait_for(asyncio.gather(first, second), PATIENCE_S)
        assert waiter.status == 202

    play(scene)


def test_many_waiters_hold_no_connection(alice: Person, admin_sql: Any) -> None:
    """They share the door's two, and let go of them: nothing is inside a transaction while they wait."""

    def connected() -> set[int]:
        ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'qwenstudio-web%%'"
        return {pid for (pid,) in admin_sql.execute(ours).fetchall()}

    def inside() -> set[tuple[int, datetime]]:
        """Sessions between two statements of a transaction, and when it began."""
        sql = (
            "SELECT pid, xact_start FROM pg_stat_activity"
            " WHERE application_name LIKE 'qwenstudio-web%%' AND state LIKE 'idle in transaction%%'"
        )
        return set(admin_sql.execute(sql).fetchall())

    async def scene(door: Door) -> None:
        before = len(connected())  # the tests before this one have left some in the pool
        waiting = [wait(door, alice, "wait=60") for _ in range(MANY)]
        async with asyncio.timeout(120):
            while len(await in_thread(rows, alice)) < MANY:
                await asyncio.sleep(0.1)
        await asyncio.sleep(hub_module.POLL_S)
        assert len(connected()) - before <= 6
        async with asyncio.timeout(PATIENCE_S):
            held = inside()  # the poll is in one for a moment: what one holds is there until its waiter ends
            while held := held & inside():
                await asyncio.sleep(0.05)
        # More of them wait than there are threads: a page that came while they do proves that they hold none.
        page = await asyncio.wait_for(Exchange(make_scope("GET", "/healthz")).run(door.house.pages), PATIENCE_S)
        assert page.status == 200
        assert not [task for _, task in waiting if task.done()]
        door.house.hub.begin_close()
        await asyncio.wait_for(asyncio.gather(*(task for _, task in waiting)), PATIENCE_S)
        assert {exchange.status for exchange, _ in waiting} == {202}

    play(scene)
