"""How people say what they want to see: by its name, or by describing it (`wishes.toml`)."""

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from generation.engine.chatdemo.wishprompts import GROUND_EN, GROUND_ZH, ONE_ZH, article, names_of
from generation.engine.demo.specs import Scene, Shape, Spec

DESCRIBED, COLOUR_DESCRIBED = 0.35, 0.2
"""Shares of things and of colours that are described instead of named."""


@dataclass(frozen=True)
class Sayings:
    """How people wish in one language."""

    openers: tuple[str, ...]
    openers_held_out: tuple[str, ...]
    changes: tuple[str, ...]
    backgrounds: tuple[str, ...]
    described: Mapping[str, Mapping[str, tuple[str, ...]]]
    """By group of words and key."""


@cache
def read_sayings(language: str) -> Sayings:
    """One language of `wishes.toml`."""
    tables = tomllib.loads((Path(__file__).parent / "wishes.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = tables[language]
    lists = {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
    described = {
        group: {key: tuple(phrases) for key, phrases in value.items()}
        for group, value in table.items()
        if isinstance(value, dict)
    }
    return Sayings(**lists, described=described)


@dataclass(frozen=True)
class Phrases:
    """The parts of one wish in words; what is not said is empty. `thing` is a name, or, `described`, a description."""

    thing: str
    described: bool = False
    one: str = ""
    """Chinese: the measure word before it."""
    size: str = ""
    colour: str = ""
    colour_described: bool = False
    place: str = ""
    ground: str = ""
    time: str = ""
    background: str = ""
    is_landscape: bool = False
    """`thing` is the ground itself, with nothing on it."""


def pick_name(group: str, key: str, language: str, rng: random.Random) -> str:
    """One of the words for a thing, mostly the commonest."""
    choices = names_of(group, key, language)
    return choices[0] if rng.random() < 0.7 else rng.choice(choices)


def choose_phrases(spec: Spec, said: frozenset[str], language: str, rng: random.Random) -> Phrases:
    """Words for what is `said` of `spec`."""
    described = read_sayings(language).described

    def describe(group: str, field: str) -> str:
        return rng.choice(described[group][getattr(spec, field)]) if field in said else ""

    if isinstance(spec, Scene) and not spec.object:
        ground = (GROUND_EN if language == "en" else GROUND_ZH)[spec.ground]
        return Phrases(ground, time=describe("times", "time"), is_landscape=True)
    group, key = ("shapes", spec.shape) if isinstance(spec, Shape) else ("objects", spec.object)
    is_described, colour_described = rng.random() < DESCRIBED, rng.random() < COLOUR_DESCRIBED
    colour = describe("colours", "colour")
    if colour and not colour_described:
        colour = pick_name("colours", spec.colour, language, rng)
    thing = rng.choice(described[group][key]) if is_described else pick_name(group, key, language, rng)
    said_so = Phrases(
        thing,
        described=is_described,
        one="一个" if is_described else ONE_ZH.get(key, "一个"),
        colour=colour,
        colour_described=colour_described,
        place=describe("places", "place"),
    )
    if isinstance(spec, Scene):
        return replace(said_so, ground=describe("grounds", "ground"), time=describe("times", "time"))
    size = rng.choice(described["sizes"][spec.size]) if spec.size != "medium" else ""
    if not spec.background:
        return replace(said_so, size=size)
    background = rng.choice(read_sayings(language).backgrounds)
    return replace(
        said_so, size=size, background=background.format(pick_name("colours", spec.background, language, rng))
    )


def word_en(said: Phrases, rng: random.Random) -> str:
    """ "a big round thing like a tomato on the left"."""
    if said.is_landscape:
        return f"{said.thing} {said.time}".strip()
    colour, simile = ("", said.colour) if said.colour_described else (said.colour, "")
    adjectives = [part for part in (said.size, colour) if part]
    tail = [part for part in (said.place, said.ground, said.time, said.background) if part]
    if rng.random() < 0.4:
        rng.shuffle(tail)
    joint = rng.choice((" ", " ", ", "))
    text = joint.join([f"{_core_en(said, adjectives, rng)} {simile}", *tail])
    return " ".join(text.split()).replace(" ,", ",")


def _core_en(said: Phrases, adjectives: list[str], rng: random.Random) -> str:
    if not said.described:
        core = " ".join([*adjectives, said.thing])
        return core if rng.random() < 0.1 else article(core)
    is_adjective = " " not in said.thing  # "round"
    if rng.random() < 0.67:
        words = [*adjectives, said.thing] if is_adjective else adjectives
        if is_adjective:
            rng.shuffle(words)
        return f"something {' and '.join(words)} {'' if is_adjective else said.thing}"
    if is_adjective:
        return article(" ".join([*adjectives[:1], said.thing, *adjectives[1:], "thing"]))
    return f"{article(' '.join([*adjectives, 'thing']))} {said.thing}"


def word_zh(said: Phrases, rng: random.Random) -> str:
    """ "左边的一个像番茄一样的颜色的圆圆的东西"."""
    if said.is_landscape:
        return f"{said.time}的{said.thing}" if said.time else said.thing
    parts = [part for part in (f"{said.colour}的" if said.colour else "", said.size) if part]
    rng.shuffle(parts)
    noun = said.thing
    if said.described:
        noun += "的东西" if noun.endswith("一样") else "东西"
    core = (said.one if rng.random() < 0.8 else "") + "".join(parts) + noun
    order = rng.choice(
        _shape_orders(said, core) if said.background or not (said.ground or said.time) else _scene_orders(said, core)
    )
    return "，".join(part for part in order if part)


def _shape_orders(said: Phrases, core: str) -> list[list[str]]:
    where, at = said.place, f"在{said.place}" if said.place else ""
    return [
        [f"{where}的{core}" if where else core, said.background],
        [core, at, said.background],
        [said.background, f"{where}有{core}" if where else core],
        [core, said.background, at],
    ]


def _scene_orders(said: Phrases, core: str) -> list[list[str]]:
    before, at = f"{said.time}{said.ground}{said.place}", f"在{said.place}" if said.place else ""
    on = f"在{said.ground}" if said.ground else ""
    return [
        [f"{before}的{core}" if before else core],
        [core, on, at, said.time],
        [said.time, f"{said.ground}有{core}" if said.ground else core, at],
        [said.time, f"{said.ground}的{core}" if said.ground else core, at],
        [core, said.time, on, at],
    ]
