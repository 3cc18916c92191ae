"""Places at upstreams: the least busy first, and by turns among tenants where all are taken."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter

import pytest

from generation.chat.slots import Asker, NoPlace, Place, Slots
from generation.chat.targets import Target, Upstream

ALICE, MALLORY = Asker("alice"), Asker("mallory")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def target(id: str, *, concurrency: int = 1, weight: int = 1) -> Target:
    upstream = Upstream(id=id, kind="openai", base_url="http://127.0.0.1:1", concurrency=concurrency, weight=weight)
    return Target(upstream=upstream, model="m")


def take(slots: Slots, at: Target, asker: Asker = ALICE) -> Place:
    found = slots.take(at, asker)
    assert found is not None
    return found


async def join(slots: Slots, asker: Asker, *targets: Target) -> asyncio.Task[Place]:
    """Somebody who waits."""
    task = asyncio.create_task(slots.wait(targets, asker, seconds=5))
    await asyncio.sleep(0)
    return task


def test_the_least_busy_first_by_weight() -> None:
    slots = Slots()
    light, heavy = target("light", concurrency=9), target("heavy", concurrency=9, weight=3)
    chosen = []
    for _ in range(8):
        first = slots.order([light, heavy])[0]
        take(slots, first)
        chosen.append(first.upstream.id)
    assert chosen.count("heavy") == 6 and chosen[0] == "heavy"


async def test_of_one_tenant_whoever_has_waited_longest() -> None:
    slots, one = Slots(), target("one")
    place = take(slots, one)
    assert slots.take(one, ALICE) is None
    tasks = [await join(slots, ALICE, one) for _ in range(3)]
    for number in range(3):
        slots.release(place)
        assert slots.take(one, MALLORY) is None, "nobody overtakes"
        place = await tasks[number]
        assert not any(task.done() for task in tasks[number + 1 :])
    slots.release(place)
    assert slots.is_quiet() and slots.busy("one") == 0 and take(slots, one)


async def test_who_sends_many_waits_behind_itself() -> None:
    clock = Clock()
    slots, one = Slots(clock), target("one", concurrency=2)
    held = [take(slots, one, MALLORY), take(slots, one, MALLORY)]
    crowd = [await join(slots, MALLORY, one) for _ in range(50)]
    clock.seconds += 1
    late = await join(slots, ALICE, one)
    slots.release(held[0])
    await asyncio.sleep(0)
    assert late.done() and not any(task.done() for task in crowd)
    second = await join(slots, ALICE, one)
    clock.seconds += 1
    slots.release(held[1])  # Mallory has held for 3 seconds, Alice for 1
    await asyncio.sleep(0)
    assert second.done() and not any(task.done() for task in crowd)
    third = await join(slots, ALICE, one)
    clock.seconds += 2  # 3 seconds and 2 more: Alice is ahead now
    slots.release(late.result())
    await asyncio.sleep(0)
    assert crowd[0].done() and not third.done()
    for task in (*crowd[1:], third):
        task.cancel()
    await asyncio.gather(*crowd, third, return_exceptions=True)
    for place in (second.result(), crowd[0].result()):
        slots.release(place)
    assert slots.is_quiet()


async def test_nobody_saves_up_turns_by_staying_away() -> None:
    clock = Clock()
    slots, one = Slots(clock), target("one")
    slots.release(take(slots, one, MALLORY))
    place = take(slots, one, ALICE)
    for _ in range(10):  # Alice is served for a long time, one after another
        task = await join(slots, ALICE, one)
        clock.seconds += 10
        slots.release(place)
        place = await task
    tasks = [await join(slots, asker, one) for asker in (ALICE, MALLORY, MALLORY, ALICE)]
    order = []
    for _ in tasks:
        clock.seconds += 10
        slots.release(place)
        await asyncio.sleep(0)
        number, place = next((n, t.result()) for n, t in enumerate(tasks) if t.done() and n not in order)
        order.append(number)
    assert order == [1, 0, 2, 3] or order == [1, 2, 0, 3], "turns, not ten seconds times ten for Mallory alone"
    slots.release(place)


@pytest.mark.parametrize("seed", range(4))
async def test_time_goes_by_weight_where_everybody_asks(seed: int) -> None:
    """1,000 answers over three places, some tenants asking for longer ones; each always has three requests waiting."""
    chance, clock = random.Random(seed), Clock()
    slots, one = Slots(clock), target("one", concurrency=3)
    askers = [Asker(f"tenant-{number}", (1, 2, 4)[number % 3]) for number in range(8)]
    lengths = {asker: (0.5, 2.0, 9.0) if number % 2 else (0.2, 1.0) for number, asker in enumerate(askers)}
    running: list[tuple[float, int, Place]] = []
    clocks: Counter[Asker] = Counter()

    def begin(number: int, place: Place) -> None:
        heapq.heappush(running, (clock() + chance.choice(lengths[place.asker]), number, place))

    for number in range(3):
        begin(number, take(slots, one, askers[number]))
    waiting = [await join(slots, asker, one) for asker in askers for _ in range(3)]
    worst = 0.0
    for number in range(3, 1003):
        clock.seconds, _, ended = heapq.heappop(running)
        clocks[ended.asker] += (clock() - ended.since) / ended.asker.weight
        slots.release(ended)
        await asyncio.sleep(0)
        (served,) = (task for task in waiting if task.done())
        waiting.remove(served)
        begin(number, served.result())
        waiting.append(await join(slots, served.result().asker, one))
        shown = clocks.copy()
        for _, _, place in running:
            shown[place.asker] += (clock() - place.since) / place.asker.weight
        worst = max(worst, max(shown[asker] for asker in askers) - min(shown[asker] for asker in askers))
    assert worst <= 3 * 9.0, "one longest answer in each place, for a weight of one"
    total = sum(clocks[asker] * asker.weight for asker in askers)
    for asker in askers:
        share = clocks[asker] * asker.weight / total
        assert share == pytest.approx(asker.weight / sum(other.weight for other in askers), rel=0.1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for _, _, place in running:
        slots.release(place)
    assert slots.is_quiet()


async def test_the_first_place_at_any_of_several() -> None:
    slots, one, two = Slots(), target("one"), target("two")
    first, second = take(slots, one), take(slots, two)
    task = await join(slots, ALICE, one, two)
    slots.release(second)
    assert (await task).target is two
    assert (slots.busy("one"), slots.busy("two")) == (1, 1)
    slots.release(first)
    assert take(slots, one), "the one that was not needed is free"


async def test_waiting_has_a_bound() -> None:
    slots, one = Slots(), target("one")
    place = take(slots, one)
    with pytest.raises(NoPlace):
        await slots.wait([one], ALICE, seconds=0.02)
    slots.release(place)
    assert slots.is_quiet() and take(slots, one)


async def test_a_place_given_to_somebody_who_leaves_is_not_lost() -> None:
    slots, one = Slots(), target("one")
    place = take(slots, one)
    leaver, stayer = await join(slots, ALICE, one), await join(slots, MALLORY, one)
    slots.release(place)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    slots.release(await stayer)
    assert slots.is_quiet() and take(slots, one)


def test_a_weight_is_one_at_least() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Asker("tenant", 0)
