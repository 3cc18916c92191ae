"""From two pictures to a verdict: pure functions, no database.

A reason is a code, how bad it is, and the numbers that a sentence about it needs (`words.py` has the sentences).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from generation.engine.region import Region
from generation.enums import Verdict
from generation.releases.compare.limits import LIMITS, SLOWER, SLOWER_MS, Bound
from generation.releases.compare.measures import (
    Distance,
    Frame,
    NoPicture,
    count_changed,
    is_black,
    is_blank,
    measure,
    read_frame,
    size_of,
)
from generation.releases.compare.side import NO_INPUT, Drawn
from generation.releases.compare.wanted import Start

NO_OLD = "no_reference"
"""The other side's error where there is nothing to compare with: no fault of anybody."""
_ORDER = (Verdict.GREEN, Verdict.YELLOW, Verdict.RED)


@dataclass(frozen=True, slots=True)
class Judged:
    """One case: what is wrong, and the distance where both sides have a picture."""

    verdict: Verdict
    reasons: tuple[dict[str, Any], ...]
    distance: Distance | None = None


@dataclass(frozen=True, slots=True)
class ModelJudged:
    """One model over its cases."""

    verdict: Verdict
    summary: dict[str, Any]


def worst(verdicts: Iterable[str]) -> Verdict:
    """The worst of them; green where there are none."""
    return max((Verdict(one) for one in verdicts), key=_ORDER.index, default=Verdict.GREEN)


def judge_case(new: Drawn, old: Drawn, *, tolerance: str, start: Start | None = None) -> Judged:
    """Compare what two sides have of one case.

    Of an inpainting only what is drawn anew is measured: the rest would hide it. That the rest is the picture's own is
    a rule, whatever the other side does.
    """
    if new.error:
        return _ended([_failed(new, old)])
    region = start.region if start else None
    try:
        frame = read_frame(new.data, region=region)
        reasons = _look_outside(new, start, region) if start and region else []
    except NoPicture:
        return _ended([_reason("unreadable", Verdict.RED)])
    before = _read(old, region)
    reasons += _look(frame, before)
    if old.error == NO_OLD:
        return _ended([*reasons, _reason("no_reference", Verdict.YELLOW)])
    if before is None:
        return _ended([*reasons, _reason("old_failed", Verdict.YELLOW, error=old.error or "unreadable")])
    if frame.luma.shape != before.luma.shape:
        sizes = {"new": list(frame.luma.shape[::-1]), "old": list(before.luma.shape[::-1])}
        return _ended([*reasons, _reason("size", Verdict.RED, **sizes)])
    distance = measure(frame, before)
    limits = LIMITS[tolerance]
    found = (
        _beyond("ssim", -distance.ssim, Bound(-limits.ssim.yellow, -limits.ssim.red), said=distance.ssim),
        _beyond("bits", distance.bits, limits.bits, said=distance.bits),
        _beyond("colour", distance.colour, limits.colour, said=distance.colour),
    )
    return _ended([*reasons, *filter(None, found)], distance)


def judge_model(model: str, pairs: Sequence[tuple[Drawn, Drawn]]) -> ModelJudged:
    """Latencies, waits and errors of one model's cases; what is slower than before is a reason of its own.

    Only pictures that both sides drew on the same hardware are compared in time.
    """
    alike = [
        (new.run_ms, old.run_ms)
        for new, old in pairs
        if new.run_ms is not None and old.run_ms is not None and not new.error and not old.error
        and new.hardware == old.hardware
    ]  # fmt: skip
    new_ms, old_ms = (_median([pair[at] for pair in alike]) for at in (0, 1))
    reasons = []
    if new_ms is not None and old_ms is not None and new_ms - old_ms >= SLOWER_MS:
        ratio = new_ms / max(1.0, old_ms)
        if slower := _beyond("slower", ratio, SLOWER, said=ratio):
            reasons.append(slower | {"new_ms": new_ms, "old_ms": old_ms})
    summary = {
        "model": model,
        "cases": len(pairs),
        "new_ms": new_ms,
        "old_ms": old_ms,
        "new_wait_ms": _median([new.wait_ms for new, _ in pairs if new.wait_ms is not None]),
        "old_wait_ms": _median([old.wait_ms for _, old in pairs if old.wait_ms is not None]),
        "new_errors": _count(new for new, _ in pairs),
        "old_errors": _count(old for _, old in pairs if old.error != NO_OLD),
        "reasons": reasons,
    }
    return ModelJudged(verdict=worst(reason["level"] for reason in reasons), summary=summary)


def _failed(new: Drawn, old: Drawn) -> dict[str, Any]:
    """A case that fails on both sides alike is broken, but not by this release."""
    if new.error == NO_INPUT:  # the case that it starts from says why
        return _reason(NO_INPUT, Verdict.YELLOW)
    if new.error == old.error:
        return _reason("both_failed", Verdict.YELLOW, error=new.error)
    return _reason("failed", Verdict.RED, error=new.error)


def _look(frame: Frame, before: Frame | None) -> list[dict[str, Any]]:
    """Whether the new picture shows anything; a plain one is no fault where the old one is plain too."""
    if is_black(frame) and not (before is not None and is_black(before)):
        return [_reason("black", Verdict.RED)]
    if is_blank(frame) and before is not None and not is_blank(before):
        return [_reason("blank", Verdict.RED)]
    return []


def _look_outside(new: Drawn, start: Start, region: Region) -> list[dict[str, Any]]:
    """Whether every pixel outside the mask is the picture's own. Raises `NoPicture`."""
    sizes = {"new": list(size_of(new.data)), "old": list(size_of(start.picture))}
    if sizes["new"] != sizes["old"]:
        return [_reason("size", Verdict.RED, **sizes)]
    changed = count_changed(new.data, start.picture, region=region)
    return [_reason("outside", Verdict.RED, value=changed)] if changed else []


def _read(drawn: Drawn, region: Region | None) -> Frame | None:
    try:
        return read_frame(drawn.data, region=region) if drawn.data else None
    except NoPicture:
        return None


def _beyond(code: str, value: float, bound: Bound, *, said: float) -> dict[str, Any] | None:
    """A reason where a value is over its bound; `said` is the value as it is shown."""
    if value <= bound.yellow:
        return None
    level = Verdict.RED if value > bound.red else Verdict.YELLOW
    limit = abs(bound.red if level == Verdict.RED else bound.yellow)
    return _reason(code, level, value=round(said, 4), limit=limit)


def _reason(code: str, level: Verdict, **numbers: Any) -> dict[str, Any]:
    return {"code": code, "level": level.value, **numbers}


def _ended(reasons: list[dict[str, Any]], distance: Distance | None = None) -> Judged:
    return Judged(verdict=worst(one["level"] for one in reasons), reasons=tuple(reasons), distance=distance)


def _median(values: Sequence[int]) -> float | None:
    return round(statistics.median(values), 1) if values else None


def _count(drawn: Iterable[Drawn]) -> dict[str, int]:
    return dict(Counter(one.error for one in drawn if one.error))
