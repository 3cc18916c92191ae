"""Prompts for the demo image model, in the one wording that it knows best: what was said of a drawing, and no more."""

from generation.engine.demo import words
from generation.engine.demo.specs import Scene, Shape, Spec

_WORDS = {group: {word.key: word for word in words.GROUPS[group]} for group in words.GROUPS}


def names_of(group: str, key: str, language: str) -> tuple[str, ...]:
    """The words for one thing that the image model knows, the commonest first."""
    word = _WORDS[group][key]
    return word.en if language == "en" else word.zh


def prompt_of(spec: Spec, *, language: str, said: frozenset[str]) -> str:
    """The prompt that names what was `said` of `spec` (fields), in one fixed wording."""
    if isinstance(spec, Shape):
        return _shape_en(spec, said) if language == "en" else _shape_zh(spec, said)
    return _scene_en(spec, said) if language == "en" else _scene_zh(spec, said)


def _first(group: str, key: str, language: str) -> str:
    return names_of(group, key, language)[0]


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _place_en(place: str) -> str:
    if place in ("left", "right"):
        return f"on the {place}"
    return f"at the {place}" if place in ("top", "bottom") else f"in the {place}"


def _shape_en(spec: Shape, said: frozenset[str]) -> str:
    parts = [spec.size if spec.size != "medium" else "", spec.colour if "colour" in said else "", spec.shape]
    core = article(" ".join(part for part in parts if part))
    place = f" {_place_en(spec.place)}" if "place" in said else ""
    return f"{core}{place}{f' on {article(spec.background)} background' if spec.background else ''}"


GROUND_EN = {"meadow": "a meadow", "sea": "the sea", "desert": "the desert", "snow": "the snow"}
_ON_EN = {"meadow": "on a meadow", "sea": "on the sea", "desert": "in the desert", "snow": "in the snow"}
_TIME_EN = {"day": "by day", "sunset": "at sunset", "night": "at night"}


def _scene_en(spec: Scene, said: frozenset[str]) -> str:
    time = f" {_TIME_EN[spec.time]}" if "time" in said else ""
    if not spec.object:
        return f"{GROUND_EN[spec.ground]}{time}"
    core = article(f"{spec.colour} {spec.object}" if "colour" in said else spec.object)
    if "place" in said and "ground" in said:
        return f"{core} {_place_en(spec.place)} of {GROUND_EN[spec.ground]}{time}"
    place = f" {_place_en(spec.place)}" if "place" in said else ""
    return f"{core}{place}{f' {_ON_EN[spec.ground]}' if 'ground' in said else ''}{time}"


ONE_ZH = {
    "star": "一颗",
    "heart": "一颗",
    "flower": "一朵",
    "house": "一座",
    "tree": "一棵",
    "boat": "一艘",
    "balloon": "一只",
}


def _shape_zh(spec: Shape, said: frozenset[str]) -> str:
    colour = f"{_first('colours', spec.colour, 'zh')}的" if "colour" in said else ""
    size = _first("sizes", spec.size, "zh") if spec.size != "medium" else ""
    core = f"{ONE_ZH.get(spec.shape, '一个')}{colour}{size}{_first('shapes', spec.shape, 'zh')}"
    place = _first("places", spec.place, "zh") if "place" in said else ""
    if spec.background:
        ground = f"{_first('colours', spec.background, 'zh')}背景"
        return f"{ground}{place}的{core}" if place else f"{ground}上的{core}"
    return f"{place}的{core}" if place else core


GROUND_ZH = {"meadow": "草地", "sea": "大海", "desert": "沙漠", "snow": "雪地"}
_ON_ZH = {"meadow": "草地上", "sea": "海上", "desert": "沙漠里", "snow": "雪地里"}
_TIME_ZH = {"day": "白天", "sunset": "日落时", "night": "夜晚"}


def _scene_zh(spec: Scene, said: frozenset[str]) -> str:
    time = _TIME_ZH[spec.time] if "time" in said else ""
    if not spec.object:
        return f"{time}的{GROUND_ZH[spec.ground]}" if time else GROUND_ZH[spec.ground]
    colour = f"{_first('colours', spec.colour, 'zh')}的" if "colour" in said else ""
    core = f"{ONE_ZH[spec.object]}{colour}{_first('objects', spec.object, 'zh')}"
    place = _first("places", spec.place, "zh") if "place" in said else ""
    if "ground" in said:
        return f"{time}{GROUND_ZH[spec.ground]}{place}的{core}" if place else f"{time}{_ON_ZH[spec.ground]}的{core}"
    before = f"{time}{place}"
    return f"{before}的{core}" if before else core
