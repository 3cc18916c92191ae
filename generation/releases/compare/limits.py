"""The thresholds of a comparison: one table. `docs/releases.md` has what each number was measured against."""

from __future__ import annotations

from dataclasses import dataclass

from generation.enums import Tolerance


@dataclass(frozen=True, slots=True)
class Bound:
    """Beyond `yellow` somebody should look, beyond `red` the release is not promoted."""

    yellow: float
    red: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one picture. `ssim` is a lower bound, the others are upper ones (`measures.Distance`)."""

    ssim: Bound
    bits: Bound
    colour: Bound


LIMITS: dict[str, Limits] = {
    Tolerance.EXACT: Limits(ssim=Bound(0.99999, 0.9999), bits=Bound(0, 0), colour=Bound(0.001, 0.01)),
    Tolerance.CLOSE: Limits(ssim=Bound(0.995, 0.975), bits=Bound(3, 8), colour=Bound(0.5, 2.5)),
    Tolerance.LOOSE: Limits(ssim=Bound(0.5, 0.25), bits=Bound(14, 24), colour=Bound(8.0, 20.0)),
}

# Of a model: the median drawing time of its cases, in multiples of the other side's. Less than `SLOWER_MS` more is
# noise, whatever the multiple.
SLOWER = Bound(1.3, 2.0)
SLOWER_MS = 250
# Whatever else the machine does only makes a picture slower: what seems slow is drawn so often again, on both sides,
# and each side's quickest counts.
LOOKS_AGAIN = 2

# Of texts. The share of labels that were right before and are not now: any is worth a look, over a tenth is too many.
AGREEMENT = Bound(0.0, 0.1)
# The same label, and a probability that moved by so much; never red.
SCORES = Bound(0.1, 1.0)
# An answer that is so many times as long or as short, where they are `LENGTH_CHARS` apart at least.
LENGTH = Bound(2.0, 5.0)
LENGTH_CHARS = 60
LATE_MS = Bound(3000, 10_000)
