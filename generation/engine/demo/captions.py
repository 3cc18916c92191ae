"""Captions for the drawings, English and Chinese, in every phrasing that people are likely to type.

A phrasing that never occurs in training stays a blob, so variety here is what makes the model pleasant to talk to.
A caption may leave out what is the default (specs.py); it always names the rest.
"""

import random
from dataclasses import dataclass

from generation.engine.demo import words
from generation.engine.demo.specs import (
    DEFAULT_COLOUR,
    DEFAULT_GROUND,
    DEFAULT_SHAPE_COLOUR,
    Scene,
    Shape,
    Spec,
)

_WORDS = {group: {word.key: word for word in words.GROUPS[group]} for group in words.GROUPS}


@dataclass(frozen=True)
class Style:
    """How a caption is worded: `full` names every attribute that has a word, `language` is "en" or "zh"."""

    language: str
    full: bool = False


def caption(spec: Spec, *, style: Style, rng: random.Random) -> str:
    """One caption of `spec`."""
    if isinstance(spec, Shape):
        text = (_shape_en if style.language == "en" else _shape_zh)(spec, style, rng)
    else:
        text = (_scene_en if style.language == "en" else _scene_zh)(spec, style, rng)
    return _dress(text, style, rng)


def sample_caption(spec: Spec, *, rng: random.Random) -> str:
    """One caption of `spec`, English or Chinese, that may leave out what is usual."""
    return caption(spec, style=Style("en" if rng.random() < 0.5 else "zh", full=rng.random() < 0.35), rng=rng)


def _dress(text: str, style: Style, rng: random.Random) -> str:
    """Small habits of typing: a capital, a full stop, "a picture of"."""
    if style.language == "zh":
        if rng.random() < 0.04:
            text = rng.choice(("画", "一张图：", "一幅画：")) + text
        return text + ("。" if rng.random() < 0.08 else "")
    if rng.random() < 0.05:
        text = rng.choice(("a picture of ", "an image of ", "draw ", "a drawing of ", "a painting of ")) + text
    if rng.random() < 0.12:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.08 else "")


def _says(usual: bool, share: float, style: Style, rng: random.Random) -> bool:
    """Whether to name an attribute: always if it is not the usual value or all are to be named, else by chance."""
    return style.full or not usual or rng.random() < share


def _word(group: str, key: str, language: str, rng: random.Random, first: float = 0.65) -> str:
    """A word for `key`; the first of its synonyms with the share `first`."""
    word = _WORDS[group][key]
    choices = word.en if language == "en" else word.zh
    return choices[0] if rng.random() < first or len(choices) == 1 else rng.choice(choices[1:])


# English


def _with_article(noun: str, rng: random.Random, bare: float = 0.15) -> str:
    if rng.random() < bare:
        return noun
    if rng.random() < 0.06:
        return f"the {noun}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _place_en(place: str, rng: random.Random) -> str:
    word = _word("places", place, "en", rng)
    if place == "middle":
        return rng.choice(("in the", "in the", "at the")) + " " + word
    if " " in place:
        return rng.choice(("in the {}", "in the {} corner", "at the {}")).format(word)
    if place in ("left", "right"):
        return rng.choice(("on the {}", "on the {}", "at the {}", "on the {} side", "to the {}")).format(word)
    return f"at the {word}"


def _shape_en(spec: Shape, style: Style, rng: random.Random) -> str:
    parts = []
    if spec.size != "medium":
        parts.append(_word("sizes", spec.size, "en", rng))
    if _says(spec.colour == DEFAULT_SHAPE_COLOUR[spec.shape], 0.75, style, rng):
        parts.append(_word("colours", spec.colour, "en", rng, 0.9))
    parts.append(_word("shapes", spec.shape, "en", rng, 0.85))
    core = _with_article(" ".join(parts), rng)
    place = _place_en(spec.place, rng) if _says(spec.place == "middle", 0.2, style, rng) else ""
    if not spec.background:
        return _pick(rng, (5, f"{core} {place}".strip()), (1, f"{place}, {core}") if place else (1, core))
    colour = _word("colours", spec.background, "en", rng, 0.9)
    ground = _with_article(f"{colour} background", rng, 0.06)
    on = _pick(rng, (7, f"on {ground}"), (2, f"on {colour}"), (1, f"with {ground}"))
    if not place:
        return _pick(rng, (7, f"{core} {on}"), (1, f"{core}, {colour} background"), (1, f"{ground} with {core}"))
    return _pick(
        rng,
        (5, f"{core} {place} {on}"),
        (3, f"{core} {place} of {ground}"),
        (2, f"{core} {on} {place}"),
        (1, f"{core} {on}, {_word('places', spec.place, 'en', rng)}"),
        (1, f"{core}, {place}, {colour} background"),
        (1, f"{place} {core} {on}"),
        (1, f"{ground} with {core} {place}"),
    )


_IN_EN = {
    "meadow": ("on a meadow", "on the meadow", "in a meadow", "in the meadow", "on the grass", "in a field"),
    "sea": ("on the sea", "at sea", "on the water", "on the ocean", "in the sea", "in the ocean", "by the sea"),
    "desert": ("in the desert", "in a desert", "on the sand", "in the sand"),
    "snow": ("in the snow", "in snow", "on the snow", "on snow", "in a snowy field"),
}
_OF_EN = {
    "meadow": ("a meadow", "a meadow", "the meadow", "a field", "the grass"),
    "sea": ("the sea", "the sea", "a sea", "the ocean"),
    "desert": ("the desert", "a desert", "the sand"),
    "snow": ("the snow", "the snow", "a snowy field"),
}
_TIME_EN = {
    "day": ("by day", "during the day", "on a sunny day", "in the daytime", "in daytime"),
    "sunset": ("at sunset", "at sunset", "at sunset", "at dusk", "in the evening", "during sunset"),
    "night": ("at night", "at night", "at night", "by night", "in the night"),
}


def _scene_en(spec: Scene, style: Style, rng: random.Random) -> str:
    time = rng.choice(_TIME_EN[spec.time]) if _says(spec.time == "day", 0.3, style, rng) else ""
    of = rng.choice(_OF_EN[spec.ground])
    if not spec.object:
        bare = of if rng.random() < 0.6 else spec.ground
        return _pick(rng, (4, f"{bare} {time}".strip()), (1, f"{time}, {bare}") if time else (1, bare))
    noun = (
        "hot air balloon"
        if spec.object == "balloon" and rng.random() < 0.35
        else _word("objects", spec.object, "en", rng, 0.8)
    )
    if _says(spec.colour == DEFAULT_COLOUR[spec.object], 0.5, style, rng):
        noun = f"{_word('colours', spec.colour, 'en', rng, 0.9)} {noun}"
    core = _with_article(noun, rng, 0.1)
    inside = rng.choice(_IN_EN[spec.ground])
    if spec.object == "balloon" and rng.random() < 0.5:
        inside = f"over {of}"
    where = inside if _says(spec.ground == DEFAULT_GROUND[spec.object], 0.6, style, rng) else ""
    place = _place_en(spec.place, rng) if _says(spec.place == "middle", 0.2, style, rng) else ""
    return _tidy(_order_scene_en(core, where, of, place, time, spec, rng))


def _order_scene_en(core: str, where: str, of: str, place: str, time: str, spec: Scene, rng: random.Random) -> str:
    if not where:
        return _pick(rng, (5, f"{core} {place} {time}"), (1, f"{core} {time} {place}"), (1, f"{time}, {core} {place}"))
    if not place:
        return _pick(
            rng,
            (6, f"{core} {where} {time}"),
            (2, f"{core} {time} {where}"),
            (1, f"{time}, {core} {where}"),
            (1, f"{of} {time} with {core}"),
            (1, f"{core}, {spec.ground}, {spec.time if time else ''}"),
        )
    return _pick(
        rng,
        (7, f"{core} {place} of {of} {time}"),
        (3, f"{core} {where} {time}, {place}"),
        (2, f"{core} {place} {where} {time}"),
        (2, f"{core} {where} {place} {time}"),
        (2, f"{time}, {core} {place} of {of}"),
        (2, f"{of} {time} with {core} {place}"),
        (1, f"{core} {time} {where} {place}"),
        (1, f"{core} {time} {place} of {of}"),
        (1, f"{place} of {of} {core} {time}"),
        (1, f"{core}, {_WORDS['places'][spec.place].en[0]}, {spec.ground}, {spec.time if time else ''}"),
    )


def _pick(rng: random.Random, *choices: tuple[int, str]) -> str:
    return rng.choices([text for _, text in choices], [weight for weight, _ in choices])[0]


def _tidy(text: str) -> str:
    """One space between words, no comma at either end: left-out parts leave such gaps."""
    text = " ".join(text.split()).replace(" ,", ",")
    while text.endswith((",", " ")) or text.startswith((",", " ")):
        text = text.strip(", ")
    return text


# Chinese

_MEASURE = {
    "star": "一颗", "heart": "一颗", "flower": "一朵",
    "house": "一座", "tree": "一棵", "boat": "一艘", "balloon": "一只",
}  # fmt: skip
_OTHER_MEASURE = {"house": "一间", "boat": "一条", "balloon": "一个", "heart": "一个", "star": "一个"}


def _measure(key: str, rng: random.Random) -> str:
    usual = _MEASURE.get(key, "一个")
    return usual if rng.random() < 0.7 else _OTHER_MEASURE.get(key, usual)


def _thing_zh(group: str, key: str, colour: str, size: str, rng: random.Random) -> str:
    noun = _word(group, key, "zh", rng, 0.75)
    joint = "的" if colour and rng.random() < 0.45 else ""
    big = _word("sizes", size, "zh", rng, 0.9) if size != "medium" else ""
    return f"{colour}{joint}{big}{noun}" if rng.random() < 0.6 else f"{big}{colour}{joint}{noun}"


def _colour_zh(key: str, rng: random.Random) -> str:
    names = _WORDS["colours"][key].zh
    return names[0] if rng.random() < 0.85 else rng.choice(names[1:])


def _shape_zh(spec: Shape, style: Style, rng: random.Random) -> str:
    named = _says(spec.colour == DEFAULT_SHAPE_COLOUR[spec.shape], 0.75, style, rng)
    thing = _thing_zh("shapes", spec.shape, _colour_zh(spec.colour, rng) if named else "", spec.size, rng)
    one = _measure(spec.shape, rng)
    core = one + thing if rng.random() < 0.65 else thing
    place = _word("places", spec.place, "zh", rng) if _says(spec.place == "middle", 0.2, style, rng) else ""
    comma = rng.choice(("，", "，", ","))
    if not spec.background:
        if not place:
            return core
        return _pick(rng, (3, f"{place}的{core}"), (3, f"{core}在{place}"), (2, f"{place}有{one}{thing}"))
    ground = f"{_WORDS['colours'][spec.background].zh[0]}背景"
    if not place:
        return _pick(
            rng,
            (5, f"{ground}上的{core}"),
            (2, f"{core}{comma}{ground}"),
            (1, f"{ground}{comma}{core}"),
            (1, f"{core}在{ground}上"),
            (1, f"{ground}上有{one}{thing}"),
        )
    return _pick(
        rng,
        (4, f"{ground}{place}的{core}"),
        (3, f"{core}在{ground}的{place}"),
        (2, f"{ground}上{place}的{core}"),
        (2, f"{ground}的{place}有{one}{thing}"),
        (1, f"{place}的{core}{comma}{ground}"),
        (1, f"{core}在{place}{comma}{ground}"),
        (1, f"{ground}{comma}{place}有{one}{thing}"),
        (1, f"{core}{comma}{place}{comma}{ground}"),
    )


_IN_ZH = {
    "meadow": ("草地上", "草地上", "草原上"),
    "sea": ("海上", "大海上", "海面上", "海中"),
    "desert": ("沙漠里", "沙漠中", "沙漠上", "沙地上"),
    "snow": ("雪地里", "雪地上", "雪中"),
}
_OF_ZH = {
    "meadow": ("草地", "草地", "草原"),
    "sea": ("大海", "海面", "海"),
    "desert": ("沙漠", "沙漠", "沙地"),
    "snow": ("雪地",),
}
_TIME_ZH = {
    "day": ("白天", "白天", "晴天"),
    "sunset": ("日落时", "日落", "傍晚", "黄昏"),
    "night": ("夜晚", "夜晚", "晚上", "夜里"),
}


def _scene_zh(spec: Scene, style: Style, rng: random.Random) -> str:
    time = rng.choice(_TIME_ZH[spec.time]) if _says(spec.time == "day", 0.3, style, rng) else ""
    of = rng.choice(_OF_ZH[spec.ground])
    comma = rng.choice(("，", "，", ","))
    if not spec.object:
        return f"{time}{'的' if time and rng.random() < 0.7 else ''}{of}"
    named = _says(spec.colour == DEFAULT_COLOUR[spec.object], 0.5, style, rng)
    thing = _thing_zh("objects", spec.object, _colour_zh(spec.colour, rng) if named else "", "medium", rng)
    one = _measure(spec.object, rng)
    core = one + thing if rng.random() < 0.7 else thing
    where = (
        rng.choice(_IN_ZH[spec.ground]) if _says(spec.ground == DEFAULT_GROUND[spec.object], 0.6, style, rng) else ""
    )
    place = _word("places", spec.place, "zh", rng) if _says(spec.place == "middle", 0.2, style, rng) else ""
    joint = "的" if time and rng.random() < 0.35 else ""
    after = f"{comma}{time}" if time else ""
    before = f"{time}{comma}" if time else ""
    if not where:
        if not place:
            return _pick(
                rng,
                (3, f"{time}{joint or ('的' if time else '')}{core}"),
                (1, f"{core}{after}"),
                (1, f"{before}{core}"),
            )
        return _pick(
            rng, (2, f"{before}{place}有{one}{thing}"), (2, f"{core}在{place}{after}"), (1, f"{before}{place}的{core}")
        )
    if not place:
        return _pick(
            rng,
            (4, f"{time}{joint}{where}的{core}"),
            (2, f"{time}{joint}{where}有{one}{thing}"),
            (2, f"{where}的{core}{after}"),
            (1, f"{core}在{time}{joint}{where}"),
            (1, f"{before}{core}在{where}"),
            (1, f"{core}{comma}{of}{after}"),
        )
    return _pick(
        rng,
        (4, f"{core}在{time}{joint}{of}的{place}"),
        (3, f"{time}{joint}{of}{place}的{core}"),
        (2, f"{time}{joint}{of}的{place}有{one}{thing}"),
        (2, f"{before}{of}{place}有{one}{thing}"),
        (2, f"{of}{place}的{core}{after}"),
        (2, f"{time}{joint}{where}{comma}{place}有{one}{thing}"),
        (1, f"{core}在{of}的{place}{after}"),
        (1, f"{core}{comma}{place}{comma}{of}{after}"),
    )
