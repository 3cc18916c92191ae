"""Whether a picture shows what was asked: is it nearer to drawings of its caption than to those of any neighbour?"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from generation.engine.demo.draw import draw
from generation.engine.demo.specs import Spec, neighbours

DRAWINGS = 8
"""Jittered drawings of each caption."""
SIDE = 64
"""Pixels per side at which pictures are compared: edges count, antialiasing does not."""


@dataclass(frozen=True)
class Case:
    """What was asked, the picture of it and, as control, the picture of something else; both by `shrink`."""

    spec: Spec
    picture: np.ndarray
    control: np.ndarray
    seed: int


@dataclass(frozen=True)
class Verdict:
    """What the picture shows, and whether the control passed for what was asked."""

    drawn: Spec
    control_passed: bool


def shrink(picture: Image.Image) -> np.ndarray:
    """`picture` (square, its side a multiple of `SIDE`) as (SIDE * SIDE * 3,) float32."""
    return np.asarray(picture.reduce(picture.width // SIDE), np.float32).reshape(-1)


def judge(case: Case) -> Verdict:
    """Compare with 8 drawings each of the caption and of every caption that differs from it in one attribute."""
    choices = [case.spec, *neighbours(case.spec)]
    rng = random.Random(case.seed)
    drawings = np.asarray(
        [[shrink(draw(spec, width=2 * SIDE, height=2 * SIDE, rng=rng)) for _ in range(DRAWINGS)] for spec in choices]
    )
    return Verdict(_nearest(case.picture, drawings, choices), _nearest(case.control, drawings, choices) == case.spec)


def _nearest(picture: np.ndarray, drawings: np.ndarray, choices: Sequence[Spec]) -> Spec:
    """The choice that has the drawing nearest to `picture`, by mean squared difference."""
    return choices[int(np.square(drawings - picture).mean(axis=-1).min(axis=1).argmin())]
