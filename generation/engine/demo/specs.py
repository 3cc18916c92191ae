"""What a picture shows, as data; which combinations are kept from training; how training draws from the rest."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product

from generation.engine.demo import words

COLOURS = tuple(word.key for word in words.COLOURS)
SHAPES = tuple(word.key for word in words.SHAPES)
SIZES = tuple(word.key for word in words.SIZES)
PLACES = tuple(word.key for word in words.PLACES)
OBJECTS = tuple(word.key for word in words.OBJECTS)
GROUNDS = tuple(word.key for word in words.GROUNDS)
TIMES = tuple(word.key for word in words.TIMES)
ROW = ("left", "middle", "right")
"""Places in a scene."""
HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Shape:
    """One shape on a flat background. `background` "" is the plain one that unnamed backgrounds get."""

    shape: str
    colour: str
    size: str = "medium"
    place: str = "middle"
    background: str = ""


@dataclass(frozen=True)
class Scene:
    """A landscape, with one object or none (`object`, `colour` and `place` are then "")."""

    object: str = ""
    colour: str = ""
    place: str = ""
    ground: str = "meadow"
    time: str = "day"


Spec = Shape | Scene

DEFAULT_SHAPE_COLOUR = {
    "circle": "red", "square": "blue", "triangle": "green", "star": "yellow", "heart": "red",
    "flower": "pink",
}  # fmt: skip
DEFAULT_COLOUR = {"house": "white", "tree": "green", "boat": "red", "balloon": "red"}
DEFAULT_GROUND = {"house": "meadow", "tree": "meadow", "boat": "sea", "balloon": "meadow"}
"""What a caption that leaves the word out means."""


def combination(spec: Spec) -> str:
    """The key that decides whether `spec` is held out: every attribute but the size."""
    kind = type(spec).__name__
    return "|".join([kind, *(getattr(spec, field.name) for field in fields(spec) if field.name != "size")])


def is_held_out(spec: Spec) -> bool:
    """Whether `spec`'s combination is never drawn in training: by hash, so it needs no list and never drifts.

    Landscapes without an object are too few to hold any out.
    """
    if isinstance(spec, Scene) and not spec.object:
        return False
    digest = hashlib.sha256(combination(spec).encode()).digest()
    return digest[0] / 256 < HELD_OUT_SHARE


def all_shapes() -> Iterator[Shape]:
    """Every shape on every named background of another colour."""
    for shape, colour, size, place, background in product(SHAPES, COLOURS, SIZES, PLACES, COLOURS):
        if colour != background:
            yield Shape(shape, colour, size, place, background)


def all_scenes() -> Iterator[Scene]:
    """Every scene with an object."""
    for parts in product(OBJECTS, COLOURS, ROW, GROUNDS, TIMES):
        yield Scene(*parts)


def held_out(*, seed: int, count: int) -> list[Spec]:
    """`count` held-out specs, half of them scenes as far as there are so many, in an order that `seed` decides."""
    rng = random.Random(seed)
    shapes: list[Spec] = [spec for spec in all_shapes() if is_held_out(spec)]
    scenes: list[Spec] = [spec for spec in all_scenes() if is_held_out(spec)]
    wide = min(count // 2, len(scenes))
    chosen = rng.sample(shapes, count - wide) + rng.sample(scenes, wide)
    rng.shuffle(chosen)
    return chosen


def neighbours(spec: Spec) -> list[Spec]:
    """Every spec that differs from `spec` in exactly one attribute."""
    choices = (
        {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "place": PLACES, "background": COLOURS}
        if isinstance(spec, Shape)
        else {"object": OBJECTS, "colour": COLOURS, "place": ROW, "ground": GROUNDS, "time": TIMES}
    )
    found: list[Spec] = []
    for name, values in choices.items():
        for value in values:
            other = type(spec)(**{**vars(spec), name: value})
            if value != getattr(spec, name) and not (isinstance(other, Shape) and other.colour == other.background):
                found.append(other)
    return found


def sample_training_spec(rng: random.Random) -> Spec:
    """A spec to train on: never a held-out one; defaults come often, because people leave words out."""
    while True:
        spec = _sample(rng)
        if not is_held_out(spec):
            return spec


def _sample(rng: random.Random) -> Spec:
    if rng.random() < 0.5:
        background = rng.choice(COLOURS) if rng.random() < 0.75 else ""
        shape = rng.choice(SHAPES)
        usual = DEFAULT_SHAPE_COLOUR[shape]
        is_usual = rng.random() < 0.1 and usual != background
        colour = usual if is_usual else rng.choice([c for c in COLOURS if c != background])
        place = "middle" if rng.random() < 0.25 else rng.choice(PLACES)
        size = "medium" if rng.random() < 0.2 else rng.choice(SIZES)
        return Shape(shape, colour, size, place, background)
    if rng.random() < 0.06:
        return Scene(ground=rng.choice(GROUNDS), time=rng.choice(TIMES))
    kind = rng.choice(OBJECTS)
    colour = DEFAULT_COLOUR[kind] if rng.random() < 0.12 else rng.choice(COLOURS)
    ground = DEFAULT_GROUND[kind] if rng.random() < 0.12 else rng.choice(GROUNDS)
    return Scene(kind, colour, rng.choice(ROW), ground, rng.choice(TIMES))
