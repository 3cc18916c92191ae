"""Verdicts: each fault and its colour, and what is no fault of the new release."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from generation.domain.request import GenerationRequest
from generation.engine.region import Region
from generation.enums import Tolerance, Verdict
from generation.releases.compare.judge import NO_OLD, Judged, judge_case, judge_model, worst
from generation.releases.compare.limits import LIMITS
from generation.releases.compare.side import NO_INPUT, Drawn
from generation.releases.compare.wanted import Start, Wanted
from generation.releases.compare.words import say_error, say_reason
from tests.generation.releases.painter import encode, scene

RED, YELLOW, GREEN = Verdict.RED, Verdict.YELLOW, Verdict.GREEN
PIXELS = scene(1, width=96, height=96)
GOOD = Drawn(data=encode(PIXELS), run_ms=1000, wait_ms=5, hardware="a GPU")


def drawn(pixels: Any) -> Drawn:
    return replace(GOOD, data=encode(pixels))


def codes(new: Drawn, old: Drawn = GOOD, *, tolerance: str = Tolerance.CLOSE) -> tuple[str, list[str]]:
    judged = judge_case(new, old, tolerance=tolerance)
    assert all(say_reason(reason) != reason["code"] for reason in judged.reasons), "every reason has a sentence"
    return judged.verdict, [reason["code"] for reason in judged.reasons]


def test_the_same_picture_is_green() -> None:
    assert codes(GOOD) == (GREEN, [])
    assert codes(GOOD, tolerance=Tolerance.EXACT) == (GREEN, [])


NOISE = np.random.default_rng(1).normal(0, 1, PIXELS.shape)


@pytest.mark.parametrize(
    ("pixels", "verdict", "said"),
    [
        (PIXELS + 0.5 * NOISE, GREEN, []),
        (PIXELS + 25 * NOISE, RED, ["ssim"]),
        (scene(2, width=96, height=96), RED, ["ssim", "bits", "colour"]),
        (PIXELS[:, ::-1], RED, ["ssim", "bits", "colour"]),
        (PIXELS[..., ::-1], RED, ["ssim", "colour"]),
        (np.zeros_like(PIXELS), RED, ["black"]),
        (np.full_like(PIXELS, 127.0), RED, ["blank"]),
    ],
    ids=["nothing to see", "noise", "another seed", "mirrored", "red for blue", "black", "gray"],
)
def test_pictures(pixels: Any, verdict: Verdict, said: list[str]) -> None:
    found, reasons = codes(drawn(pixels))
    assert found == verdict
    assert set(said) <= set(reasons)
    assert bool(reasons) is (verdict != GREEN)


def test_exact_means_the_same_pixels() -> None:
    found, reasons = codes(drawn(PIXELS + 2 * NOISE), tolerance=Tolerance.EXACT)
    assert found == RED
    assert "ssim" in reasons


def test_loose_lets_pass_what_close_does_not() -> None:
    noisy = drawn(PIXELS + 12 * NOISE)
    assert codes(noisy)[0] == RED
    assert codes(noisy, tolerance=Tolerance.LOOSE)[0] in (GREEN, YELLOW)
    assert codes(drawn(PIXELS[:, ::-1]), tolerance=Tolerance.LOOSE)[0] == RED


def test_the_table_has_every_tolerance_and_red_is_beyond_yellow() -> None:
    assert set(LIMITS) == set(Tolerance)
    for limits in LIMITS.values():
        assert limits.ssim.red <= limits.ssim.yellow
        assert limits.bits.red >= limits.bits.yellow
        assert limits.colour.red >= limits.colour.yellow


def test_failures() -> None:
    nan = Drawn(error="bad_frame")
    assert codes(nan) == (RED, ["failed"])
    assert codes(nan, nan) == (YELLOW, ["both_failed"]), "broken before, and no worse"
    assert codes(nan, Drawn(error="timeout")) == (RED, ["failed"])
    assert codes(nan, Drawn(error=NO_OLD)) == (RED, ["failed"])
    assert codes(GOOD, nan) == (YELLOW, ["old_failed"])
    assert codes(GOOD, Drawn(error=NO_OLD)) == (YELLOW, ["no_reference"])
    assert codes(Drawn(data=b"no picture")) == (RED, ["unreadable"])
    assert codes(GOOD, Drawn(data=b"no picture")) == (YELLOW, ["old_failed"])
    assert codes(drawn(scene(1, width=64, height=96))) == (RED, ["size"])


def test_a_black_picture_needs_nothing_to_compare_with() -> None:
    verdict, said = codes(drawn(np.zeros_like(PIXELS)), Drawn(error=NO_OLD))
    assert verdict == RED
    assert said == ["black", "no_reference"]


def test_a_picture_that_was_plain_before_may_be_plain() -> None:
    plain = drawn(np.full_like(PIXELS, 90.0))
    assert codes(plain, plain) == (GREEN, [])


def times(new_ms: int, old_ms: int, n: int = 3) -> list[tuple[Drawn, Drawn]]:
    return [(replace(GOOD, run_ms=new_ms), replace(GOOD, run_ms=old_ms))] * n


@pytest.mark.parametrize(
    ("new_ms", "old_ms", "verdict"),
    [
        (1000, 1000, GREEN),
        (900, 1000, GREEN),
        (1290, 1000, GREEN),
        (1310, 1000, YELLOW),
        (1990, 1000, YELLOW),
        (2010, 1000, RED),
        (300, 60, GREEN),  # five times, and nobody would notice
        (320, 60, RED),
    ],
)
def test_slowness(new_ms: int, old_ms: int, verdict: Verdict) -> None:
    found = judge_model("demo", times(new_ms, old_ms))
    assert found.verdict == verdict
    assert found.summary["new_ms"] == new_ms
    assert bool(found.summary["reasons"]) is (verdict != GREEN)


def test_the_median_counts_not_one_hiccup() -> None:
    pairs = [*times(1000, 1000, 2), *times(9000, 1000, 1)]
    assert judge_model("demo", pairs).verdict == GREEN


def test_other_hardware_says_nothing_of_time() -> None:
    pairs = [(new, replace(old, hardware="another")) for new, old in times(9000, 1000)]
    found = judge_model("demo", pairs)
    assert found.verdict == GREEN
    assert found.summary["new_ms"] is None


def test_errors_are_counted_by_code() -> None:
    pairs = [(Drawn(error="bad_frame"), GOOD), (Drawn(error="bad_frame"), Drawn(error=NO_OLD)), (GOOD, GOOD)]
    found = judge_model("demo", pairs).summary
    assert found["new_errors"] == {"bad_frame": 2}
    assert found["old_errors"] == {}, "no reference is no error"
    assert found["cases"] == 3


def test_the_worst_counts() -> None:
    assert worst([]) == GREEN
    assert worst(["green", "red", "yellow"]) == RED
    assert worst(["green", "yellow"]) == YELLOW


def test_unknown_codes_are_shown_as_they_are() -> None:
    assert say_error("brand_new") == "brand_new"
    assert say_reason({"code": "brand_new", "level": "red"}) == "brand_new"


# ---- cases that start from a picture

MIDDLE = Region(0.25, 0.25, 0.75, 0.75)


def started(region: Region | None) -> Start:
    nobody = GenerationRequest(model="demo", prompt="a")
    base = Wanted(slug="base", position=0, model="demo", tolerance="close", request=nobody, params={})
    return Start(base=base, region=region, picture=GOOD.data)


def inside(pixels: Any) -> Any:
    """The good picture with its middle, a quarter of it, from another one."""
    found = PIXELS.copy()
    found[24:72, 24:72] = pixels[24:72, 24:72]
    return found


def judge_started(pixels: Any, before: Any, region: Region | None = MIDDLE) -> Judged:
    return judge_case(drawn(pixels), drawn(before), tolerance=Tolerance.CLOSE, start=started(region))


def test_of_an_inpainting_what_is_drawn_anew_is_measured_alone() -> None:
    old, new = inside(PIXELS + 20), inside((PIXELS + 20) * [1.0, 0.98, 1.0])
    whole, part = judge_started(new, old, None), judge_started(new, old)
    assert whole.distance is not None
    assert part.distance is not None
    assert part.distance.colour == pytest.approx(whole.distance.colour * 4, rel=0.05)
    assert (whole.verdict, part.verdict) == (GREEN, YELLOW)
    assert "black" in [reason["code"] for reason in judge_started(inside(PIXELS * 0), old).reasons]


def test_one_pixel_outside_the_mask_is_red() -> None:
    before = np.round(inside(PIXELS * 0.5 + 8 * NOISE))  # no pattern whose hash hangs on one pixel
    last_inside, first_outside = before.copy(), before.copy()
    last_inside[71, 71] += 2
    first_outside[72, 72] += 2
    assert judge_started(before, before).reasons == judge_started(last_inside, before).reasons == ()
    [reason] = judge_started(first_outside, before).reasons
    assert reason == {"code": "outside", "level": "red", "value": 1}
    assert say_reason(reason).startswith("1 pixels outside the mask")
    # It needs no other side, and another size is no kept pixel either.
    nothing = judge_case(drawn(first_outside), Drawn(error=NO_OLD), tolerance=Tolerance.CLOSE, start=started(MIDDLE))
    assert [(one["code"], one["level"]) for one in nothing.reasons] == [("outside", "red"), ("no_reference", "yellow")]
    small = judge_started(scene(1, width=64, height=96), before).reasons[0]
    assert small == {"code": "size", "level": "red", "new": [64, 96], "old": [96, 96]}


def test_a_case_without_a_picture_to_start_from_is_nobodys_fault() -> None:
    for old in (GOOD, Drawn(error=NO_OLD), Drawn(error=NO_INPUT)):
        assert codes(Drawn(error=NO_INPUT), old) == (YELLOW, ["no_input"])
