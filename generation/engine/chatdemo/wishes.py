"""Wishes in plain words, and the prompts that they mean for the demo image model, English and Chinese.

A wish names a drawing (`generation.engine.demo.specs`) by its words or describes it ("something round", "the colour of
the sky", "after dark"); `wishwords.py` words it. Held out are openings, and all combinations that the image
model never drew either.
"""

import random
from dataclasses import dataclass

from generation.engine.chatdemo.wishprompts import prompt_of
from generation.engine.chatdemo.wishwords import choose_phrases, read_sayings, word_en, word_zh
from generation.engine.demo import specs
from generation.engine.demo.specs import DEFAULT_COLOUR, DEFAULT_GROUND, DEFAULT_SHAPE_COLOUR, Shape, Spec


@dataclass(frozen=True)
class Wish:
    """What somebody says, what they want to see, and the prompt for it."""

    text: str
    prompt: str
    spec: Spec
    language: str


def make_wish(spec: Spec, *, language: str, rng: random.Random, held_out: bool = False) -> Wish:
    """One wish for `spec`; `held_out`: opened as no training wish is."""
    said = _choose_said(spec, rng)
    phrases = choose_phrases(spec, said, language, rng)
    core = (word_en if language == "en" else word_zh)(phrases, rng)
    sayings = read_sayings(language)
    openers = sayings.openers_held_out if held_out else sayings.openers
    text = dress(rng.choice(openers).format(core), language, rng)
    return Wish(text, prompt_of(spec, language=language, said=said), spec, language)


def sample_wish(rng: random.Random) -> Wish:
    """One training wish, in either language."""
    spec = specs.sample_training_spec(rng)
    return make_wish(spec, language=rng.choice(("en", "zh")), rng=rng)


def held_out_wishes(*, seed: int, count: int) -> list[Wish]:
    """`count` wishes to judge by: held-out openings and combinations, half of them Chinese, half of them scenes."""
    rng = random.Random(f"held-out wishes {seed}")
    return [
        make_wish(spec, language=("en", "zh")[turn % 2], rng=rng, held_out=True)
        for turn, spec in enumerate(specs.held_out(seed=seed, count=count))
    ]


def _choose_said(spec: Spec, rng: random.Random) -> frozenset[str]:
    """The fields that are named: all that are not usual, and by chance those that are."""
    if isinstance(spec, Shape):
        usual = {"colour": spec.colour == DEFAULT_SHAPE_COLOUR[spec.shape], "place": spec.place == "middle"}
    elif not spec.object:
        usual = {"time": spec.time == "day"}
    else:
        usual = {
            "colour": spec.colour == DEFAULT_COLOUR[spec.object],
            "place": spec.place == "middle",
            "ground": spec.ground == DEFAULT_GROUND[spec.object],
            "time": spec.time == "day",
        }
    return frozenset(name for name, is_usual in usual.items() if not is_usual or rng.random() < 0.35)


def dress(text: str, language: str, rng: random.Random) -> str:
    """Small habits of typing."""
    if language == "zh":
        text = text.replace("，", rng.choice((",", "，", "，", " "))) if rng.random() < 0.4 else text
        return text + rng.choice(("", "", "。", "？", "?", "！"))
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", ".", "?", "!"))
