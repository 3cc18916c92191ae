"""How many images share a forward: as many as were measured to gain from it, for each model, task and size.

Large pictures fill a GPU alone: a batch of them gains nothing and makes everybody in it wait for all. Small ones gain
two to three times. Nobody knows beforehand where a model on a card stands, so a worker begins with one image and tries
the next rung (2, 4, 8 …, up to the entry's `batch_max`) when there are rows for it. It climbs while a rung makes an
image cheaper by `LEAST_GAIN`, and never tries a rung again that did not, or that took more memory than there is.
"""

from __future__ import annotations

import logging
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generation.engine.outcome import PassOutcome

logger = logging.getLogger(__name__)

LEAST_GAIN = 1.1  # an image's cost on the rung below ÷ its cost on this one
SAMPLES = 3  # passes that a rung is judged by
TRIES = 12  # passes that may be made larger for a rung's sake, whether or not they were filled

# model, task, width, height, guided. An edit looks at pictures as well, an inpaint puts its kept parts back after every
# step: what one task gains says nothing of another.
Shape = tuple[str, str, int, int, bool]


@dataclass(slots=True)
class _Size:
    """What is known of one shape: milliseconds of an image's step by batch, and the rung that is used."""

    rung: int = 1
    settled: bool = False
    tries: int = 0
    ms: dict[int, list[float]] = field(default_factory=dict)

    def known(self, batch: int) -> float | None:
        taken = self.ms.get(batch, [])
        return statistics.median(taken) if len(taken) >= SAMPLES else None


class Gains:
    """What one worker has measured on its device. For one thread. Not `on`, it bounds nothing: CPUs draw row by row."""

    def __init__(self, *, on: bool = True) -> None:
        self.on = on
        self._sizes: dict[Shape, _Size] = {}

    def most(self, shape: Shape, *, batch_max: int) -> int:
        """How many images the next pass of this shape may hold."""
        if not self.on or batch_max <= 1:
            return batch_max
        size = self._sizes.setdefault(shape, _Size())
        above = self._next(size, batch_max)
        if above is None or size.known(size.rung) is None:
            return min(size.rung, batch_max)
        return above

    def note(self, shape: Shape, *, batch: int, image_step_ms: float, batch_max: int) -> None:
        """A pass of `batch` images that shared its forwards, and what one image's step took."""
        size = self._sizes.setdefault(shape, _Size())
        size.ms.setdefault(batch, []).append(image_step_ms)
        del size.ms[batch][: -2 * SAMPLES]
        above = self._next(size, batch_max)
        if above is None or batch <= size.rung:
            return
        size.tries += 1
        before, after = size.known(size.rung), size.known(above)
        if before is not None and after is not None and before >= LEAST_GAIN * after:
            self._say(shape, f"{above} share a forward: {after:.1f} ms an image and step, {before:.1f} ms before")
            size.rung, size.tries = above, 0
        elif after is not None or size.tries >= TRIES:
            found = f"{after:.1f} ms" if after is not None else "never filled"
            self._say(shape, f"{size.rung} share a forward: {above} gain too little ({found})")
            size.settled = True

    def note_full(self, shape: Shape) -> None:
        """More than the memory holds: nothing larger is tried, and what was tried is not used."""
        size = self._sizes.setdefault(shape, _Size())
        size.settled = True

    def note_pass(self, shape: Shape, outcome: PassOutcome, *, batch_max: int) -> None:
        """What a pass tells. One that was cut in halves or repeated tells no time."""
        if not self.on:
            return
        if outcome.halved:
            self.note_full(shape)
            return
        drawn = [row for row in outcome.rows if row.status == "drawn" and row.timings.step_ms]
        if outcome.repeated or not drawn:
            return
        row = drawn[0]
        steps = row.timings.step_ms[1:] or row.timings.step_ms  # the first chooses kernels now and then
        ms = statistics.median(steps) / max(1, row.batch_size)
        self.note(shape, batch=row.batch_size, image_step_ms=ms, batch_max=batch_max)

    def _next(self, size: _Size, batch_max: int) -> int | None:
        """The rung above, where one is still to be judged."""
        if size.settled or size.rung >= batch_max:
            return None
        return min(2 * size.rung, batch_max)

    def _say(self, shape: Shape, what: str) -> None:
        model, task, width, height, guided = shape
        logger.info("%s, %s, %d × %d%s: %s", model, task, width, height, ", guided" if guided else "", what)
