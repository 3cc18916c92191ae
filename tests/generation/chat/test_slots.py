"""Places at upstreams: the least busy first, and first come first served where all are taken."""

from __future__ import annotations

import asyncio

import pytest

from generation.chat.slots import NoPlace, Slots
from generation.chat.targets import Target, Upstream


def target(id: str, *, concurrency: int = 1, weight: int = 1) -> Target:
    upstream = Upstream(id=id, kind="openai", base_url="http://127.0.0.1:1", concurrency=concurrency, weight=weight)
    return Target(upstream=upstream, model="m")


def test_the_least_busy_first_by_weight() -> None:
    slots = Slots()
    light, heavy = target("light", concurrency=9), target("heavy", concurrency=9, weight=3)
    chosen = []
    for _ in range(8):
        first = slots.order([light, heavy])[0]
        assert slots.take(first)
        chosen.append(first.upstream.id)
    assert chosen.count("heavy") == 6 and chosen[0] == "heavy"


async def test_places_go_to_whoever_has_waited_longest() -> None:
    slots, one = Slots(), target("one")
    assert slots.take(one) and not slots.take(one)
    served: list[int] = []

    async def wait(number: int) -> None:
        await slots.wait([one], seconds=5)
        served.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    for _ in range(3):
        slots.release("one")
        assert not slots.take(one)  # nobody overtakes
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]
    slots.release("one")
    assert slots.busy("one") == 0 and slots.take(one)


async def test_the_first_place_at_any_of_several() -> None:
    slots, one, two = Slots(), target("one"), target("two")
    assert slots.take(one) and slots.take(two)
    task = asyncio.create_task(slots.wait([one, two], seconds=5))
    await asyncio.sleep(0)
    slots.release("two")
    assert (await task) is two
    assert (slots.busy("one"), slots.busy("two")) == (1, 1)
    slots.release("one")
    assert slots.take(one)  # the one that was not needed is free


async def test_waiting_has_a_bound() -> None:
    slots, one = Slots(), target("one")
    assert slots.take(one)
    with pytest.raises(NoPlace):
        await slots.wait([one], seconds=0.02)
    slots.release("one")
    assert slots.busy("one") == 0 and slots.take(one)


async def test_a_place_given_to_somebody_who_leaves_is_not_lost() -> None:
    slots, one = Slots(), target("one")
    assert slots.take(one)
    task = asyncio.create_task(slots.wait([one], seconds=5))
    await asyncio.sleep(0)
    slots.release("one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slots.busy("one") == 0 and slots.take(one)
