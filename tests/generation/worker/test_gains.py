"""How many images share a forward follows what was measured, one rung at a time, and no further than it pays."""

from __future__ import annotations

import statistics
from types import SimpleNamespace
from typing import Any

import pytest

from generation.worker.gains import SAMPLES, TRIES, Gains

SMALL = ("demo", "text-to-image", 512, 512, False)
LARGE = ("demo", "text-to-image", 1024, 1024, False)


def measured(gains: Gains) -> dict[int, float]:
    """Milliseconds of an image's step by batch."""
    return {batch: statistics.median(taken) for batch, taken in gains._sizes[SMALL].ms.items()}


def play(gains: Gains, shape: Any, cost: dict[int, float], *, passes: int, batch_max: int = 8) -> list[int]:
    """So many passes with rows enough; the batches that were drawn."""
    drawn = []
    for _ in range(passes):
        batch = gains.most(shape, batch_max=batch_max)
        drawn.append(batch)
        gains.note(shape, batch=batch, image_step_ms=cost[batch], batch_max=batch_max)
    return drawn


def test_small_pictures_climb_while_it_pays() -> None:
    gains = Gains()
    drawn = play(gains, SMALL, {1: 30, 2: 18, 4: 12, 8: 11.5}, passes=20)
    assert drawn[:SAMPLES] == [1] * SAMPLES
    assert drawn[SAMPLES : 3 * SAMPLES] == [2] * SAMPLES + [4] * SAMPLES
    assert drawn.count(8) == SAMPLES, "8 were tried, and gain too little"
    assert drawn[4 * SAMPLES :] == [4] * (20 - 4 * SAMPLES)
    assert measured(gains)[4] == 12


def test_large_pictures_stay_alone_after_a_few_tries() -> None:
    gains = Gains()
    drawn = play(gains, LARGE, {1: 100, 2: 98}, passes=50)
    assert drawn == [1] * SAMPLES + [2] * SAMPLES + [1] * (50 - 2 * SAMPLES)


def test_each_shape_is_judged_by_itself() -> None:
    gains = Gains()
    play(gains, SMALL, {1: 30, 2: 18, 4: 12, 8: 8}, passes=20)
    assert gains.most(SMALL, batch_max=8) == 8
    tasks = [("demo", task, 512, 512, False) for task in ("image-to-image", "inpaint", "edit")]
    guided, other = ("demo", "text-to-image", 512, 512, True), ("other", "text-to-image", 512, 512, False)
    for shape in (LARGE, guided, other, *tasks):
        assert gains.most(shape, batch_max=8) == 1, shape
    play(gains, tasks[1], {1: 40, 2: 39}, passes=20)
    assert gains.most(tasks[1], batch_max=8) == 1 and gains.most(SMALL, batch_max=8) == 8, "one says nothing of another"
    assert gains.most(SMALL, batch_max=2) == 2, "the entry's word is the most"
    assert gains.most(SMALL, batch_max=1) == 1


def test_the_entrys_most_is_a_rung_though_it_is_no_power_of_two() -> None:
    gains = Gains()
    assert play(gains, SMALL, {1: 30, 2: 15, 3: 10}, passes=12, batch_max=3)[-1] == 3


def test_a_rung_that_is_never_filled_is_given_up() -> None:
    """Three rows come where four were asked for: trying ends all the same."""
    gains = Gains()
    play(gains, SMALL, {1: 30, 2: 15}, passes=2 * SAMPLES, batch_max=2)
    asked = []
    for _ in range(40):
        asked.append(gains.most(SMALL, batch_max=8))
        gains.note(SMALL, batch=min(3, asked[-1]), image_step_ms=14, batch_max=8)
    assert asked == [4] * TRIES + [2] * (40 - TRIES)


def test_more_than_the_memory_holds_is_not_tried_again() -> None:
    gains = Gains()
    play(gains, SMALL, {1: 30}, passes=SAMPLES)
    assert gains.most(SMALL, batch_max=8) == 2
    gains.note_pass(SMALL, outcome(batch=1, step_ms=(30, 30), halved=1), batch_max=8)
    assert {gains.most(SMALL, batch_max=8) for _ in range(20)} == {1}


def test_what_a_pass_tells() -> None:
    gains = Gains()
    gains.note_pass(SMALL, outcome(batch=2, step_ms=(900, 40, 42, 41)), batch_max=8)
    assert measured(gains) == {2: 20.5}, "per image, without the first step"
    gains.note_pass(SMALL, outcome(batch=2, step_ms=(900, 900), repeated=1), batch_max=8)
    gains.note_pass(SMALL, outcome(batch=2, step_ms=(), status="cancelled"), batch_max=8)
    assert measured(gains) == {2: 20.5}


@pytest.mark.parametrize("batch_max", [1, 8])
def test_off_where_rows_are_drawn_one_by_one(batch_max: int) -> None:
    gains = Gains(on=False)
    gains.note_pass(SMALL, outcome(batch=1, step_ms=(30, 30)), batch_max=batch_max)
    assert gains.most(SMALL, batch_max=batch_max) == batch_max and not gains._sizes


def outcome(
    *, batch: int, step_ms: tuple[float, ...], halved: int = 0, repeated: int = 0, status: str = "drawn"
) -> Any:
    """The fields of `PassOutcome` that are read."""
    row = SimpleNamespace(status=status, batch_size=batch, timings=SimpleNamespace(step_ms=step_ms))
    return SimpleNamespace(rows=[row] * batch, halved=halved, repeated=repeated)
