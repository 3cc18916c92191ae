"""A chart of days as SVG that the server draws: stacked bars, no script, no style attribute.

Only bars and lines are in the picture, which is stretched to the page's width; words stand beside it as text, so they
stay readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from accounts.domain.usagechart import SERIES, UsageReport

WIDTH, HEIGHT = 1000.0, 200.0  # of the view box; the page stretches it
GAP = 0.28  # of a day's room
PLACES = (*range(1, SERIES + 1), 0)  # of the stack, from below
_NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class DayColumn:
    """One day of the chart: the whole column, which tells the day's sum when pointed at."""

    day: date
    total: int
    x: str
    width: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    metric: str
    days: Sequence[DayColumn]
    bars: Mapping[int, str]  # each group's bars as one path, by its place (0: the rest), from below
    top: int  # what the upper edge means
    middle: int
    highest: DayColumn | None  # the day with the most


def draw_chart(report: UsageReport, *, metric: str) -> Chart:
    """Bars for every day of a report."""
    totals = {day: max(0, report.day(day).of(metric)) for day in report.days}
    # What a release before wrote may stand under another name than its rest: such a part is below zero, and not drawn.
    drawn = [sum(max(0, sums.of(metric)) for sums in parts.values()) for parts in report.by_day.values()]
    most = max(drawn, default=0)
    unit = _unit(metric, most)
    top = nice_top(-(-most // unit)) * unit
    room = WIDTH / max(1, len(report.days))
    paths: dict[int, list[str]] = {place: [] for place in PLACES}
    days = []
    for number, day in enumerate(report.days):
        days.append(DayColumn(day, totals[day], _number(number * room), _number(room)))
        x, width, base = number * room + room * GAP / 2, room * (1 - GAP), HEIGHT
        for place, sums in sorted(report.by_day.get(day, {}).items(), key=lambda found: PLACES.index(found[0])):
            amount = sums.of(metric)
            if amount <= 0:
                continue
            height = amount / top * HEIGHT
            base -= height
            paths[place].append(f"M{_number(x)} {_number(base)}h{_number(width)}v{_number(height)}h-{_number(width)}z")
    highest = max(days, key=lambda found: found.total, default=None)
    return Chart(
        metric=metric,
        days=days,
        bars={place: "".join(parts) for place, parts in paths.items() if parts},
        top=top,
        middle=top // 2,
        highest=highest if highest is not None and highest.total else None,
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


def _number(value: float) -> str:
    """For SVG, with a point in every language."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
