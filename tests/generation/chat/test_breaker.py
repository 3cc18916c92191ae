"""The breaker: when it opens, who is the probe, and what other processes know of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from generation.chat.breaker import KEY, Breaker, BreakerOpen, LocalState, Rules, Ticket, breaker_state
from generation.chat.wire.valkey import Scripts

pytestmark = pytest.mark.usefixtures("redis")  # emptied after each test

RULES = Rules(failures=5, rest_s=0.2)
Make = Callable[[], Breaker]


@pytest.fixture(params=["shared", "local"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes breakers: in Valkey, each as another process would have it; or in this process, always the same one."""
    if request.param == "local":
        breaker = Breaker(rules=RULES)
        yield lambda: breaker
        return
    clients: list[Scripts] = []

    def build() -> Breaker:
        clients.append(Scripts(request.getfixturevalue("redis_url"), patience_s=5))
        return Breaker(clients[-1], rules=RULES)

    yield build
    for client in clients:
        client.close()


async def fail(breaker: Breaker, times: int = 1, **how: Any) -> None:
    for _ in range(times):
        await breaker.fail(await breaker.admit("u", probe_s=1), **how)


async def is_open(breaker: Breaker) -> bool:
    try:
        ticket = await breaker.admit("u", probe_s=1)
    except BreakerOpen:
        return True
    breaker.release(ticket)
    await breaker.settle()
    return False


async def after_rest(breaker: Breaker) -> Ticket:
    """The ticket that the breaker gives when its rest is over."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            return await breaker.admit("u", probe_s=1)
        except BreakerOpen as error:
            await asyncio.sleep(min(error.left_s, 0.05))
    raise AssertionError("it never closes")


async def test_five_failures_in_a_row_open_it(make: Make) -> None:
    breaker = make()
    await fail(breaker, 4)
    assert not await is_open(breaker)
    await fail(breaker)
    assert await is_open(breaker)
    assert await is_open(make())  # for every process


async def test_an_answer_in_between_begins_the_count_anew(make: Make) -> None:
    breaker = make()
    for _ in range(3):
        await fail(breaker, 4)
        await breaker.succeed(await breaker.admit("u", probe_s=1))
    assert not await is_open(breaker)


async def test_the_failures_of_all_processes_count_together(make: Make) -> None:
    breakers = [make() for _ in range(5)]
    for breaker in breakers:
        assert not await is_open(breaker)
        await fail(breaker)
    assert await is_open(make())


async def test_no_first_byte_opens_it_at_once(make: Make) -> None:
    breaker = make()
    await fail(breaker, at_once=True)
    assert await is_open(breaker)


async def test_upstreams_have_breakers_of_their_own(make: Make) -> None:
    breaker = make()
    await fail(breaker, 5)
    assert (await breaker.admit("other", probe_s=1)).probe == ""


async def test_an_open_one_answers_quickly(make: Make) -> None:
    breaker = make()
    await fail(breaker, at_once=True)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        with pytest.raises(BreakerOpen):
            await breaker.admit("u", probe_s=1)
        times.append(time.perf_counter() - began)
        if time.perf_counter() - began > 0.15:
            break
    assert sorted(times)[int(len(times) * 0.99) - 1] < 0.05


async def test_one_probe_among_many(make: Make) -> None:
    breaker = make()
    await fail(breaker, at_once=True)
    await asyncio.sleep(0.25)
    others = [make() for _ in range(4)]
    found = await asyncio.gather(
        *(other.admit("u", probe_s=5) for other in others for _ in range(10)), return_exceptions=True
    )
    tickets = [ticket for ticket in found if isinstance(ticket, Ticket)]
    assert len(tickets) == 1 and tickets[0].probe
    assert all(isinstance(one, BreakerOpen) for one in found if not isinstance(one, Ticket))


async def test_the_probes_answer_closes_it(make: Make) -> None:
    breaker = make()
    await fail(breaker, 5)
    ticket = await after_rest(breaker)
    assert ticket.probe
    await breaker.succeed(ticket)
    assert (await breaker.admit("u", probe_s=1)).probe == ""
    await fail(breaker, 4)
    assert not await is_open(breaker)  # and the count begins anew


async def test_the_probes_failure_opens_it_anew(make: Make) -> None:
    breaker = make()
    await fail(breaker, 5)
    await breaker.fail(await after_rest(breaker))
    assert await is_open(breaker)
    await breaker.succeed(await after_rest(breaker))
    assert not await is_open(breaker)


async def test_a_probe_that_leaves_without_a_verdict_makes_room(make: Make) -> None:
    breaker = make()
    await fail(breaker, 5)
    breaker.release(await after_rest(breaker))
    await breaker.settle()
    assert (await breaker.admit("u", probe_s=1)).probe


async def test_a_probe_that_nobody_hears_of_again_holds_its_place_for_its_bound(make: Make) -> None:
    breaker = make()
    await fail(breaker, at_once=True)
    await asyncio.sleep(0.21)
    first = await breaker.admit("u", probe_s=0.2)
    assert first.probe
    with pytest.raises(BreakerOpen):
        await make().admit("u", probe_s=0.2)
    second = await after_rest(make())
    assert second.probe and second.probe != first.probe
    # Its late words count no more.
    await breaker.succeed(first)
    with pytest.raises(BreakerOpen):
        await make().admit("u", probe_s=1)


async def test_what_was_asked_before_it_opened_neither_closes_nor_prolongs_it(make: Make) -> None:
    breaker = make()
    early = [await breaker.admit("u", probe_s=1) for _ in range(3)]
    await fail(breaker, at_once=True)
    await breaker.succeed(early[0])
    assert await is_open(breaker)
    await breaker.fail(early[1])
    assert (await after_rest(breaker)).probe


async def test_a_quiet_one_costs_no_round_trip(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Scripts(redis_url, patience_s=5)
    breaker = Breaker(client, rules=RULES)
    await breaker.succeed(await breaker.admit("u", probe_s=1))

    async def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a round trip")

    monkeypatch.setattr(client, "run", never)
    for _ in range(100):
        await breaker.succeed(await breaker.admit("u", probe_s=1))
    client.close()


async def test_without_valkey_each_process_has_its_own() -> None:
    breaker = Breaker(Scripts("redis://127.0.0.1:1/0"), rules=RULES)
    await fail(breaker, 5)
    assert await is_open(breaker)
    await breaker.succeed(await after_rest(breaker))
    assert not await is_open(breaker)


async def test_a_valkey_that_hangs_holds_nobody_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    breaker = Breaker(Scripts(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"), rules=RULES)
    began = time.monotonic()
    await fail(breaker, 5)
    assert await is_open(breaker)
    assert time.monotonic() - began < 1
    server.close()


async def test_pages_can_tell_the_state(redis_url: str) -> None:
    client, scripts = Redis.from_url(redis_url), Scripts(redis_url, patience_s=5)
    breaker = Breaker(scripts, rules=RULES)
    assert breaker_state({}, now_ms=0) == "closed"
    await fail(breaker, 2)
    fields = await client.hgetall(KEY + "u")
    assert breaker_state(fields, now_ms=0) == "closed" and fields[b"failures"] == b"2"
    await fail(breaker, at_once=True)
    fields = await client.hgetall(KEY + "u")
    opened = int(fields[b"open_until"])
    assert breaker_state(fields, now_ms=opened - 1) == "open"
    assert breaker_state(fields, now_ms=opened) == "half_open"
    assert 0 < await client.pttl(KEY + "u") <= 600_000
    scripts.close()
    await client.aclose()


async def test_the_local_one_by_its_own_clock() -> None:
    now = 0.0
    state = LocalState(Rules(failures=2, rest_s=10), clock=lambda: now)
    assert not await state.fail("u", token="", at_once=False)
    assert await state.fail("u", token="", at_once=False)
    assert await state.admit("u", token="a", probe_s=3) == (1, 10)
    now = 10.0
    assert await state.admit("u", token="a", probe_s=3) == (2, 0)
    assert await state.admit("u", token="b", probe_s=3) == (1, 3)
