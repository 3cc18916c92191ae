"""A chart of days as SVG that the server draws: stacked bars, no script, no style attribute.

Only bars and lines are in the picture, which is stretched to the page's width; words stand beside it as text, so they
stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from accounts.domain.usagechart import SERIES, UsageReport

WIDTH, HEIGHT = 1000.0, 200.0  # of the view box; the page stretches it
GAP = 0.28  # of a day's room
_NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day's part of one group: a rectangle, and the colour by its place (0: the rest)."""

    place: int
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class DayBars:
    """One day of the chart."""

    day: date
    total: int
    x: str  # of the whole column, which shows the day's sum when pointed at
    width: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    metric: str
    days: Sequence[DayBars]
    top: int  # what the upper edge means
    middle: int
    highest: DayBars | None  # the day with the most
    places: Sequence[int]  # of the legend, in the order of the stack from below


def draw_chart(report: UsageReport, *, metric: str) -> Chart:
    """Bars for every day of a report."""
    totals = {day: max(0, report.day(day).of(metric)) for day in report.days}
    most = max(totals.values(), default=0)
    unit = _unit(metric, most)
    top = nice_top(-(-most // unit)) * unit
    room = WIDTH / max(1, len(report.days))
    days = [
        DayBars(
            day=day,
            total=totals[day],
            x=_number(number * room),
            width=_number(room),
            bars=_stack(report, day, metric=metric, top=top, x=number * room + room * GAP / 2, width=room * (1 - GAP)),
        )
        for number, day in enumerate(report.days)
    ]
    used = {bar.place for found in days for bar in found.bars}
    highest = max(days, key=lambda found: found.total, default=None)
    return Chart(
        metric=metric,
        days=days,
        top=top,
        middle=top // 2,
        highest=highest if highest is not None and highest.total else None,
        places=[place for place in (*range(1, SERIES + 1), 0) if place in used],
    )


def nice_top(most: int) -> int:
    """A round number that is not below the highest bar, even so that its half is whole."""
    if most <= 2:
        return 2
    power = 10.0 ** math.floor(math.log10(most))
    return next(found for found in (math.ceil(step * power / 2) * 2 for step in _NICE) if found >= most)


def _unit(metric: str, most: int) -> int:
    """Milliseconds are told in seconds, minutes or hours: the edge is round in those."""
    return 1 if metric != "gpu_ms" else next(ms for ms in (3_600_000, 60_000, 1_000, 1) if most >= ms or ms == 1)


def _stack(report: UsageReport, day: date, *, metric: str, top: int, x: float, width: float) -> list[Bar]:
    bars, base = [], HEIGHT
    parts = report.by_day.get(day, {})
    for place in (*range(1, SERIES + 1), 0):
        amount = parts[place].of(metric) if place in parts else 0
        if amount <= 0:  # more was given back than taken: the day's own work was closed for less
            continue
        height = amount / top * HEIGHT
        base -= height
        bars.append(Bar(place, _number(x), _number(base), _number(width), _number(height)))
    return bars


def _number(value: float) -> str:
    """For SVG, with a point in every language."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
