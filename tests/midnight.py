"""No test begins just before midnight UTC: what it set aside on one day it would look for on the next."""

from __future__ import annotations

import time

import pytest

DAY_S = 86_400
SHORT_S, LONG_S = 20, 60  # what tests need at the most, on a slow machine; those with a timeout of their own take long


def rest_of_day(now: float) -> float:
    """The seconds that are left of the UTC day."""
    return DAY_S - now % DAY_S


def wait_for_midnight(item: pytest.Item) -> None:
    """Sit out the last seconds of the day."""
    needed = LONG_S if item.get_closest_marker("timeout") else SHORT_S
    if (rest := rest_of_day(time.time())) < needed:
        time.sleep(rest + 0.1)
