"""Wishes in plain words, and the prompts that they mean for the demo image model, English and Chinese.

A wish names a drawing (`generation.engine.demo.specs`) by its words or describes it ("something round", "the colour of the
sky", "after dark"). The prompt is worded as the image model knows it best and says what the wish says, no more.
Held out are openings, and all combinations that the image model never drew either.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from generation.engine.demo import specs, words
from generation.engine.demo.specs import DEFAULT_COLOUR, DEFAULT_GROUND, DEFAULT_SHAPE_COLOUR, Scene, Shape, Spec

_WORDS = {group: {word.key: word for word in words.GROUPS[group]} for group in words.GROUPS}


@dataclass(frozen=True)
class Wish:
    """What somebody says, what they want to see, and the prompt for it."""

    text: str
    prompt: str
    spec: Spec
    language: str


# ---- prompts, as the image model knows them best


def prompt_of(spec: Spec, *, language: str, said: frozenset[str]) -> str:
    """The prompt that names what was `said` of `spec` (fields), in one fixed wording."""
    if isinstance(spec, Shape):
        return _shape_en(spec, said) if language == "en" else _shape_zh(spec, said)
    return _scene_en(spec, said) if language == "en" else _scene_zh(spec, said)


def _first(group: str, key: str, language: str) -> str:
    word = _WORDS[group][key]
    return (word.en if language == "en" else word.zh)[0]


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _place_en(place: str) -> str:
    if place in ("left", "right"):
        return f"on the {place}"
    return f"at the {place}" if place in ("top", "bottom") else f"in the {place}"


def _shape_en(spec: Shape, said: frozenset[str]) -> str:
    parts = [spec.size if spec.size != "medium" else "", spec.colour if "colour" in said else "", spec.shape]
    core = _article(" ".join(part for part in parts if part))
    place = f" {_place_en(spec.place)}" if "place" in said else ""
    return f"{core}{place}{f' on {_article(spec.background)} background' if spec.background else ''}"


_GROUND_EN = {"meadow": "a meadow", "sea": "the sea", "desert": "the desert", "snow": "the snow"}
_ON_EN = {"meadow": "on a meadow", "sea": "on the sea", "desert": "in the desert", "snow": "in the snow"}
_TIME_EN = {"day": "by day", "sunset": "at sunset", "night": "at night"}


def _scene_en(spec: Scene, said: frozenset[str]) -> str:
    time = f" {_TIME_EN[spec.time]}" if "time" in said else ""
    if not spec.object:
        return f"{_GROUND_EN[spec.ground]}{time}"
    core = _article(f"{spec.colour} {spec.object}" if "colour" in said else spec.object)
    if "place" in said and "ground" in said:
        return f"{core} {_place_en(spec.place)} of {_GROUND_EN[spec.ground]}{time}"
    place = f" {_place_en(spec.place)}" if "place" in said else ""
    return f"{core}{place}{f' {_ON_EN[spec.ground]}' if 'ground' in said else ''}{time}"


_ONE_ZH = {"star": "一颗", "heart": "一颗", "flower": "一朵", "house": "一座", "tree": "一棵", "boat": "一艘", "balloon": "一只"}


def _shape_zh(spec: Shape, said: frozenset[str]) -> str:
    colour = f"{_first('colours', spec.colour, 'zh')}的" if "colour" in said else ""
    size = _first("sizes", spec.size, "zh") if spec.size != "medium" else ""
    core = f"{_ONE_ZH.get(spec.shape, '一个')}{colour}{size}{_first('shapes', spec.shape, 'zh')}"
    place = _first("places", spec.place, "zh") if "place" in said else ""
    if spec.background:
        ground = f"{_first('colours', spec.background, 'zh')}背景"
        return f"{ground}{place}的{core}" if place else f"{ground}上的{core}"
    return f"{place}的{core}" if place else core


_GROUND_ZH = {"meadow": "草地", "sea": "大海", "desert": "沙漠", "snow": "雪地"}
_ON_ZH = {"meadow": "草地上", "sea": "海上", "desert": "沙漠里", "snow": "雪地里"}
_TIME_ZH = {"day": "白天", "sunset": "日落时", "night": "夜晚"}


def _scene_zh(spec: Scene, said: frozenset[str]) -> str:
    time = _TIME_ZH[spec.time] if "time" in said else ""
    if not spec.object:
        return f"{time}的{_GROUND_ZH[spec.ground]}" if time else _GROUND_ZH[spec.ground]
    colour = f"{_first('colours', spec.colour, 'zh')}的" if "colour" in said else ""
    core = f"{_ONE_ZH[spec.object]}{colour}{_first('objects', spec.object, 'zh')}"
    place = _first("places", spec.place, "zh") if "place" in said else ""
    if "ground" in said:
        return f"{time}{_GROUND_ZH[spec.ground]}{place}的{core}" if place else f"{time}{_ON_ZH[spec.ground]}的{core}"
    before = f"{time}{place}"
    return f"{before}的{core}" if before else core


# ---- wishes

COLOURS_EN = {
    "red": ("like a tomato", "the colour of blood", "like a fire engine"),
    "orange": ("like a carrot", "the colour of a pumpkin"),
    "yellow": ("like the sun", "the colour of a lemon"),
    "green": ("like fresh grass", "the colour of spinach"),
    "blue": ("like the sky", "the colour of jeans"),
    "purple": ("like a plum", "the colour of lavender"),
    "pink": ("like a piglet", "the colour of a flamingo"),
    "brown": ("like chocolate", "the colour of wood"),
    "black": ("like coal", "the colour of ink"),
    "white": ("like milk", "the colour of chalk"),
    "gray": ("like a mouse", "the colour of ashes"),
}
SHAPES_EN = {
    "circle": ("round", "like a ball"),
    "square": ("with four equal sides", "like a box"),
    "triangle": ("with three corners", "with three sides"),
    "star": ("with five points", "that twinkles"),
    "heart": ("that stands for love", "that says I love you"),
    "flower": ("that blossoms", "with petals"),
}
OBJECTS_EN = {
    "house": ("to live in", "with a roof and a door"),
    "tree": ("with a trunk and leaves", "with branches"),
    "boat": ("to sail with", "that sails"),
    "balloon": ("to fly with", "that floats in the air"),
}
SIZES_EN = {"small": ("small", "tiny", "little"), "big": ("big", "huge", "large")}
PLACES_EN = {
    "middle": ("in the middle", "in the centre", "right in the middle"),
    "left": ("on the left", "on the left side", "to the left"),
    "right": ("on the right", "on the right side", "to the right"),
    "top": ("at the top", "high up", "up at the top"),
    "bottom": ("at the bottom", "down at the bottom", "far down"),
    "top left": ("in the top left", "in the upper left corner", "up on the left"),
    "top right": ("in the top right", "in the upper right corner", "up on the right"),
    "bottom left": ("in the bottom left", "in the lower left corner", "down on the left"),
    "bottom right": ("in the bottom right", "in the lower right corner", "down on the right"),
}
GROUNDS_EN = {
    "meadow": ("on a meadow", "on the grass", "in a green field", "where cows graze"),
    "sea": ("on the sea", "on the water", "out on the waves", "at sea"),
    "desert": ("in the desert", "on the sand", "where camels live"),
    "snow": ("in the snow", "where everything is frozen", "on a snowy field"),
}
TIMES_EN = {
    "day": ("by day", "in bright daylight", "on a sunny day"),
    "sunset": ("at sunset", "when the sun goes down", "in the evening", "at dusk"),
    "night": ("at night", "after dark", "when the moon is out", "at midnight"),
}
BACKGROUNDS_EN = ("on a {} background", "with {} behind it", "on {}", "with a {} background", "and {} all around it")
OPENERS_EN = (
    "could I have {}", "I would like {}", "please draw {}", "can you draw {}", "I want {}", "show me {}", "give me {}",
    "I was hoping for {}", "how about {}", "draw me {}, please", "it would be good to see {}", "I dream of {}", "{}",
    "{}, please", "make {}", "I need {}", "may I see {}", "can you show me {}", "please make me {}", "I wish for {}",
    "draw {}", "could you draw {} for me", "I'd like to see {}", "let me see {}", "a picture of {}", "I am thinking of {}",
)
OPENERS_EN_HELD_OUT = (
    "would you mind drawing {}", "what I want to see is {}", "any chance of {}", "{} would be what I want",
    "I have been dreaming of {}", "hi, please show {}", "is it possible to have {}", "my wish is {}",
)

COLOURS_ZH = {
    "red": ("像番茄一样的颜色", "血的颜色"),
    "orange": ("像胡萝卜一样的颜色", "橘子的颜色"),
    "yellow": ("像太阳一样的颜色", "柠檬的颜色"),
    "green": ("像青草一样的颜色", "菠菜的颜色"),
    "blue": ("像天空一样的颜色", "牛仔裤的颜色"),
    "purple": ("像葡萄一样的颜色", "薰衣草的颜色"),
    "pink": ("像桃花一样的颜色", "火烈鸟的颜色"),
    "brown": ("像巧克力一样的颜色", "木头的颜色"),
    "black": ("像煤一样的颜色", "墨水的颜色"),
    "white": ("像牛奶一样的颜色", "粉笔的颜色"),
    "gray": ("像老鼠一样的颜色", "灰烬的颜色"),
}
SHAPES_ZH = {
    "circle": ("圆圆的", "像球一样"),
    "square": ("方方正正的", "四条边一样长的"),
    "triangle": ("有三个角的", "三条边的"),
    "star": ("有五个尖角的", "会闪闪发光的"),
    "heart": ("代表爱的", "表示我爱你的"),
    "flower": ("会开放的", "有花瓣的"),
}
OBJECTS_ZH = {
    "house": ("可以住的", "有屋顶和门的"),
    "tree": ("有树干和叶子的", "有树枝的"),
    "boat": ("可以航行的", "能在水上开的"),
    "balloon": ("能飞起来的", "可以飘在空中的"),
}
SIZES_ZH = {"small": ("小", "小小的"), "big": ("大", "大大的", "巨大的")}
PLACES_ZH = {
    "middle": ("中间", "正中间", "中央"),
    "left": ("左边", "左侧", "靠左"),
    "right": ("右边", "右侧", "靠右"),
    "top": ("上方", "上面", "靠上"),
    "bottom": ("下方", "下面", "靠下"),
    "top left": ("左上角", "左上方"),
    "top right": ("右上角", "右上方"),
    "bottom left": ("左下角", "左下方"),
    "bottom right": ("右下角", "右下方"),
}
GROUNDS_ZH = {
    "meadow": ("草地上", "草原上", "牛吃草的地方"),
    "sea": ("海上", "大海上", "海面上", "波浪上"),
    "desert": ("沙漠里", "沙地上", "骆驼住的地方"),
    "snow": ("雪地里", "雪中", "冰天雪地里"),
}
TIMES_ZH = {
    "day": ("白天", "晴天"),
    "sunset": ("日落时", "太阳下山的时候", "傍晚", "黄昏"),
    "night": ("夜晚", "天黑以后", "月亮出来的时候", "晚上"),
}
BACKGROUNDS_ZH = ("{}背景", "背景是{}", "后面是{}", "周围全是{}", "背景要{}")
OPENERS_ZH = (
    "可以给我{}吗", "我想要{}", "请画{}", "能画{}吗", "我要{}", "想看{}", "给我{}", "来{}吧", "画{}", "帮我画{}", "我希望看到{}",
    "{}", "{}，谢谢", "麻烦画{}", "能不能画{}", "我想看看{}", "给我画{}好吗", "做{}", "有没有{}", "请给我{}", "我在想{}",
)
OPENERS_ZH_HELD_OUT = (
    "可不可以让我看到{}", "我的愿望是{}", "你好，请帮我做{}", "我一直想要{}", "能看到{}就好了", "要是有{}就好了", "请为我画{}",
)


def make_wish(spec: Spec, *, language: str, rng: random.Random, held_out: bool = False) -> Wish:
    """One wish for `spec`; `held_out`: opened as no training wish is."""
    said = _choose_said(spec, rng)
    core = (_wish_en if language == "en" else _wish_zh)(spec, said, rng)
    if language == "en":
        openers = OPENERS_EN_HELD_OUT if held_out else OPENERS_EN
    else:
        openers = OPENERS_ZH_HELD_OUT if held_out else OPENERS_ZH
    text = _dress(rng.choice(openers).format(core), language, rng)
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


def _name(group: str, key: str, language: str, rng: random.Random) -> str:
    word = _WORDS[group][key]
    choices = word.en if language == "en" else word.zh
    return choices[0] if rng.random() < 0.7 else rng.choice(choices)


def _pick(choices: Mapping[str, Sequence[str]], key: str, rng: random.Random) -> str:
    return rng.choice(choices[key])


def _wish_en(spec: Spec, said: frozenset[str], rng: random.Random) -> str:
    if isinstance(spec, Scene) and not spec.object:
        return " ".join([_GROUND_EN[spec.ground], *([_pick(TIMES_EN, spec.time, rng)] if "time" in said else [])])
    group, key, like = (
        ("shapes", spec.shape, SHAPES_EN) if isinstance(spec, Shape) else ("objects", spec.object, OBJECTS_EN)
    )
    size = _pick(SIZES_EN, spec.size, rng) if isinstance(spec, Shape) and spec.size != "medium" else ""
    colour = spec.colour if "colour" in said else ""
    simile = f"{_pick(COLOURS_EN, colour, rng)}" if colour and rng.random() < 0.2 else ""
    word = "" if simile or not colour else _name("colours", colour, "en", rng)
    if rng.random() < 0.35:
        thing = _pick(like, key, rng)
        noun = rng.choice(("something", "a thing", "something"))
        if noun == "something":
            adjectives = [part for part in (size, word) if part]
            short = thing == "round"
            if short:
                adjectives = [*adjectives, "round"] if rng.random() < 0.5 else ["round", *adjectives]
                rng.shuffle(adjectives)
            core = " ".join(["something", " and ".join(adjectives), "" if short else thing])
        else:
            core = _article(" ".join(part for part in (size, word, "thing") if part)) + " " + thing
            if thing == "round":
                core = _article(" ".join(part for part in (size, "round", word, "thing") if part))
    else:
        core = " ".join(part for part in (size, word, _name(group, key, "en", rng)) if part)
        core = core if rng.random() < 0.1 else _article(core)
    parts = [f"{core} {simile}"]
    tail = []
    if "place" in said:
        tail.append(_pick(PLACES_EN, spec.place, rng))
    if isinstance(spec, Scene):
        tail += [_pick(GROUNDS_EN, spec.ground, rng)] if "ground" in said else []
        tail += [_pick(TIMES_EN, spec.time, rng)] if "time" in said else []
    elif spec.background:
        tail.append(rng.choice(BACKGROUNDS_EN).format(_name("colours", spec.background, "en", rng)))
    if rng.random() < 0.4:
        rng.shuffle(tail)
    joint = rng.choice((" ", " ", ", "))
    return " ".join(joint.join([*parts, *tail]).split()).replace(" ,", ",")


def _wish_zh(spec: Spec, said: frozenset[str], rng: random.Random) -> str:
    if isinstance(spec, Scene) and not spec.object:
        ground = _GROUND_ZH[spec.ground]
        return f"{_pick(TIMES_ZH, spec.time, rng)}的{ground}" if "time" in said else ground
    group, key, like = (
        ("shapes", spec.shape, SHAPES_ZH) if isinstance(spec, Shape) else ("objects", spec.object, OBJECTS_ZH)
    )
    size = _pick(SIZES_ZH, spec.size, rng) if isinstance(spec, Shape) and spec.size != "medium" else ""
    colour = ""
    if "colour" in said:
        plain = rng.random() >= 0.2
        colour = (_name("colours", spec.colour, "zh", rng) if plain else _pick(COLOURS_ZH, spec.colour, rng)) + "的"
    if rng.random() < 0.35:
        thing = _pick(like, key, rng)
        one, noun = "一个", thing + ("的" if thing.endswith("一样") else "") + "东西"
    else:
        one, noun = _ONE_ZH.get(key, "一个"), _name(group, key, "zh", rng)
    parts = [part for part in (colour, size) if part]
    rng.shuffle(parts)
    core = (one if rng.random() < 0.8 else "") + "".join(parts) + noun
    where = _pick(PLACES_ZH, spec.place, rng) if "place" in said else ""
    if isinstance(spec, Shape):
        around = (
            rng.choice(BACKGROUNDS_ZH).format(_name("colours", spec.background, "zh", rng)) if spec.background else ""
        )
        orders = (
            [f"{where}的{core}" if where else core, around],
            [core, f"在{where}" if where else "", around],
            [around, f"{where}有{core}" if where else core],
            [core, around, f"在{where}" if where else ""],
        )
        return "，".join(part for part in rng.choice(orders) if part)
    ground = _pick(GROUNDS_ZH, spec.ground, rng) if "ground" in said else ""
    time = _pick(TIMES_ZH, spec.time, rng) if "time" in said else ""
    place = f"在{where}" if where else ""
    before = f"{time}{ground}{where}"
    orders_scene = (
        [f"{before}的{core}" if before else core],
        [core, f"在{ground}" if ground else "", place, time],
        [time, f"{ground}有{core}" if ground else core, place],
        [time, f"{ground}的{core}" if ground else core, place],
        [core, time, f"在{ground}" if ground else "", place],
    )
    return "，".join(part for part in rng.choice(orders_scene) if part)


def _dress(text: str, language: str, rng: random.Random) -> str:
    """Small habits of typing."""
    if language == "zh":
        text = text.replace("，", rng.choice((",", "，", "，", " "))) if rng.random() < 0.4 else text
        return text + rng.choice(("", "", "。", "？", "?", "！"))
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", ".", "?", "!"))


# ---- a second wish that changes the first one's picture

CHANGES_EN = ("make it {}", "now {}", "{} instead", "{}, please", "can it be {}", "the same but {}", "I want it {}", "but {}")
CHANGES_ZH = ("换成{}", "改成{}", "现在要{}", "还是{}吧", "能{}吗", "一样的，但是{}", "我想要它{}", "变成{}")


def make_change(before: Wish, rng: random.Random) -> Wish | None:
    """A wish that changes one thing of `before`; None where the result would be held out, or nothing can be changed."""
    spec = before.spec
    names = ["colour", "place", *(["size", "background"] if isinstance(spec, Shape) else ["time", "ground"])]
    if isinstance(spec, Scene) and not spec.object:
        names = ["time"]
    name = rng.choice(names)
    english = before.language == "en"
    groups = {"colour": "colours", "place": "places", "size": "sizes", "background": "colours", "time": "times", "ground": "grounds"}
    keys = [word.key for word in words.GROUPS[groups[name]]]
    if isinstance(spec, Scene) and name == "place":
        keys = list(specs.ROW)
    keys = [key for key in keys if key not in (getattr(spec, name), "medium")]
    key = rng.choice(keys)
    after = replace(spec, **{name: key})
    if specs.is_held_out(after) or (isinstance(after, Shape) and after.colour == after.background):
        return None
    language = before.language
    phrase = {
        "colour": lambda: _name("colours", key, language, rng),
        "place": lambda: _pick(PLACES_EN if english else PLACES_ZH, key, rng),
        "size": lambda: _pick(SIZES_EN, key, rng) if english else _pick(SIZES_ZH, key, rng),
        "background": lambda: rng.choice(BACKGROUNDS_EN[:2] if english else BACKGROUNDS_ZH[:2]).format(
            _name("colours", key, language, rng)
        ),
        "time": lambda: _pick(TIMES_EN if english else TIMES_ZH, key, rng),
        "ground": lambda: _pick(GROUNDS_EN if english else GROUNDS_ZH, key, rng),
    }[name]()
    said = _said_in(before) | {name}
    text = _dress(rng.choice(CHANGES_EN if english else CHANGES_ZH).format(phrase), language, rng)
    return Wish(text, prompt_of(after, language=language, said=frozenset(said)), after, language)


def _said_in(wish: Wish) -> set[str]:
    """What the wish's prompt names."""
    fields = ("colour", "place", "ground", "time")
    for mask in range(2 ** len(fields)):
        said = frozenset(name for bit, name in enumerate(fields) if mask >> bit & 1)
        if prompt_of(wish.spec, language=wish.language, said=said) == wish.prompt:
            return set(said)
    raise ValueError(f"{wish.prompt!r} is not a prompt of {wish.spec}")
