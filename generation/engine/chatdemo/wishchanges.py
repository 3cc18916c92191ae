"""A second wish that changes one thing of the first one's picture: "make it blue", "换成蓝色"."""

import random
from dataclasses import dataclass, replace

from generation.engine.chatdemo.wishes import Wish, dress
from generation.engine.chatdemo.wishprompts import prompt_of
from generation.engine.chatdemo.wishwords import pick_name, read_sayings
from generation.engine.demo import specs, words
from generation.engine.demo.specs import Scene, Shape, Spec

_GROUPS = {
    "colour": "colours",
    "place": "places",
    "size": "sizes",
    "background": "colours",
    "time": "times",
    "ground": "grounds",
}
_SIMPLE_BACKGROUNDS = 2
"""Of the ways to name a background those that stand well alone."""


@dataclass(frozen=True)
class _Change:
    """A field of a drawing and its new value."""

    name: str
    key: str


def make_change(before: Wish, rng: random.Random) -> Wish | None:
    """A wish that changes one thing of `before`; None where the result is held out, or no drawing."""
    change = _choose(before.spec, rng)
    after = _apply(before.spec, change)
    if after is None or specs.is_held_out(after):
        return None
    language, sayings = before.language, read_sayings(before.language)
    if change.name in ("colour", "background"):
        phrase = pick_name("colours", change.key, language, rng)
        if change.name == "background":
            phrase = rng.choice(sayings.backgrounds[:_SIMPLE_BACKGROUNDS]).format(phrase)
    else:
        phrase = rng.choice(sayings.described[_GROUPS[change.name]][change.key])
    said = frozenset(_said_in(before) | {change.name})
    text = dress(rng.choice(sayings.changes).format(phrase), language, rng)
    return Wish(text, prompt_of(after, language=language, said=said), after, language)


def _choose(spec: Spec, rng: random.Random) -> _Change:
    if isinstance(spec, Scene):
        names = ["colour", "place", "time", "ground"] if spec.object else ["time"]
    else:
        names = ["colour", "place", "size", "background"]
    name = rng.choice(names)
    keys = [word.key for word in words.GROUPS[_GROUPS[name]]]
    if isinstance(spec, Scene) and name == "place":
        keys = list(specs.ROW)
    return _Change(name, rng.choice([key for key in keys if key not in (getattr(spec, name), "medium")]))


def _apply(spec: Spec, change: _Change) -> Spec | None:
    after: Spec
    if isinstance(spec, Shape):
        after = replace(spec, **{change.name: change.key})
        return None if after.colour == after.background else after
    after = replace(spec, **{change.name: change.key})
    return after


def _said_in(wish: Wish) -> set[str]:
    """What the wish's prompt names."""
    fields = ("colour", "place", "ground", "time")
    for mask in range(2 ** len(fields)):
        said = frozenset(name for bit, name in enumerate(fields) if mask >> bit & 1)
        if prompt_of(wish.spec, language=wish.language, said=said) == wish.prompt:
            return set(said)
    raise ValueError(f"{wish.prompt!r} is not a prompt of {wish.spec}")
