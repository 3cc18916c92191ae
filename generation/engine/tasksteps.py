"""How many steps a row really runs: image to image begins in the middle of the schedule."""

from __future__ import annotations

import math


def steps_run(steps: int, strength: float) -> int:
    """Steps × strength, rounded up, at least one: what of a schedule of `steps` a row with this `strength` runs."""
    return max(1, min(steps, math.ceil(round(steps * strength, 6))))
