"""The words the demo model knows, English and Chinese. Pure Python: the page names unknown words without torch."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One thing the model can be asked for: its key in the recipe and the words people use for it."""

    key: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


COLOURS = (
    Word("red", ("red",), ("红色", "红")),
    Word("orange", ("orange",), ("橙色", "橙")),
    Word("yellow", ("yellow",), ("黄色", "黄")),
    Word("green", ("green",), ("绿色", "绿")),
    Word("blue", ("blue",), ("蓝色", "蓝")),
    Word("purple", ("purple",), ("紫色", "紫")),
    Word("pink", ("pink",), ("粉色", "粉红色")),
    Word("brown", ("brown",), ("棕色", "褐色")),
    Word("black", ("black",), ("黑色", "黑")),
    Word("white", ("white",), ("白色", "白")),
    Word("gray", ("gray", "grey"), ("灰色", "灰")),
)
SHAPES = (
    Word("circle", ("circle", "disc"), ("圆形", "圆")),
    Word("square", ("square",), ("正方形", "方形")),
    Word("triangle", ("triangle",), ("三角形",)),
    Word("star", ("star",), ("星星", "五角星")),
    Word("heart", ("heart",), ("爱心", "心形")),
    Word("flower", ("flower",), ("花", "花朵")),
)
SIZES = (
    Word("small", ("small", "little", "tiny"), ("小",)),
    Word("medium", (), ()),
    Word("big", ("big", "large", "huge"), ("大", "巨大")),
)
PLACES = (
    Word("middle", ("middle", "center", "centre"), ("中间", "中央")),
    Word("left", ("left",), ("左边", "左侧")),
    Word("right", ("right",), ("右边", "右侧")),
    Word("top", ("top",), ("上方", "上面")),
    Word("bottom", ("bottom",), ("下方", "下面")),
    Word("top left", ("top left", "upper left"), ("左上角", "左上方")),
    Word("top right", ("top right", "upper right"), ("右上角", "右上方")),
    Word("bottom left", ("bottom left", "lower left"), ("左下角", "左下方")),
    Word("bottom right", ("bottom right", "lower right"), ("右下角", "右下方")),
)
OBJECTS = (
    Word("house", ("house", "home", "hut"), ("房子", "小屋")),
    Word("tree", ("tree",), ("树", "大树")),
    Word("boat", ("boat", "ship", "sailboat"), ("船", "小船", "帆船")),
    Word("balloon", ("balloon",), ("热气球", "气球")),
)
GROUNDS = (
    Word("meadow", ("meadow", "grass", "field"), ("草地", "草原")),
    Word("sea", ("sea", "ocean", "water"), ("大海", "海上", "海面", "海")),
    Word("desert", ("desert", "sand"), ("沙漠", "沙地")),
    Word("snow", ("snow", "snowy"), ("雪地", "雪")),
)
TIMES = (
    Word("day", ("day", "daytime", "sunny"), ("白天", "晴天")),
    Word("sunset", ("sunset", "dusk", "evening"), ("日落", "傍晚", "黄昏")),
    Word("night", ("night",), ("夜晚", "晚上", "夜里")),
)
GROUPS: dict[str, tuple[Word, ...]] = {
    "colours": COLOURS,
    "shapes": SHAPES,
    "sizes": SIZES,
    "places": PLACES,
    "objects": OBJECTS,
    "grounds": GROUNDS,
    "times": TIMES,
}
"""What a page can list under "this model draws"."""

GLUE_EN = frozenset(
    {
        *("a", "an", "the", "in", "on", "at", "over", "of", "with", "and", "by", "to", "is", "it", "there", "during"),
        *("under", "near", "picture", "image", "drawing", "painting", "photo", "draw", "background", "corner", "side"),
        *("colored", "coloured", "standing", "floating", "flying", "sailing", "hot", "air", "scene"),
    }
)
"""English words that carry no picture of their own: nobody should be told that "the" is unknown."""

GLUE_ZH = (
    "一个", "一只", "一座", "一间", "一棵", "一艘", "一条", "一颗", "一朵", "一轮", "一幅", "一张", "画",
    "的", "了", "在", "有", "和", "着", "里", "上", "中", "时", "时候", "背景", "图", "图片", "我", "想要", "请",
    "是", "位于", "天空", "飘", "停", "长", "立", "着", "画面", "底",
)  # fmt: skip

SAMPLES = (
    ("a white house on the left of a meadow at night", "一座白色的房子在夜晚草地的左边"),
    ("a red boat on the sea at sunset", "日落时海上的一艘红色小船"),
    ("a big yellow star on a blue background", "蓝色背景上的一颗黄色大星星"),
    ("a green tree on the right of the desert", "沙漠右边的一棵绿色的树"),
    ("a purple balloon over a meadow", "草地上的一个紫色热气球"),
    ("a pink heart in the top left on a white background", "一个粉色爱心在白色背景的左上角"),
    ("a brown house in the snow at sunset", "日落时雪地里的一座棕色房子"),
    ("a small orange circle in the bottom right", "右下角的一个橙色小圆形"),
    ("an orange tree in the snow", "雪地里的一棵橙色的树"),
    ("a red heart on a black background", "黑色背景上的一颗红色爱心"),
)
"""(English, Chinese) prompts for the chips of the page; the sheet and the tests draw every one of them."""

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[\u3400-\u9fff]+|[^\W\d_a-z]+")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


def vocabulary() -> frozenset[str]:
    """Every word, English (lower case, single words) and Chinese, that the model knows or may pass over."""
    words = set(GLUE_EN) | set(GLUE_ZH)
    for group in GROUPS.values():
        for word in group:
            words.update(part for phrase in word.en for part in phrase.split())
            words.update(word.zh)
    return frozenset(words)


_KNOWN = vocabulary()
_LONGEST_ZH = max(len(word) for word in _KNOWN if _CHINESE.match(word))


def unknown_words(prompt: str) -> list[str]:
    """The words of `prompt` that no caption ever held, in their order, each once.

    English is split into words, Chinese by the longest known word; what stands between known Chinese words is one
    unknown word.
    """
    found: list[str] = []
    for match in _WORD.finditer(prompt.lower()):
        text = match.group()
        found.extend(_unknown_chinese(text) if _CHINESE.match(text) else [] if _is_known_english(text) else [text])
    return list(dict.fromkeys(found))


def _is_known_english(word: str) -> bool:
    return word in _KNOWN


def _unknown_chinese(text: str) -> list[str]:
    unknown: list[str] = []
    start, open_from = 0, -1
    while start < len(text):
        length = next((n for n in range(_LONGEST_ZH, 0, -1) if text[start : start + n] in _KNOWN), 0)
        if length and open_from >= 0:
            unknown.append(text[open_from:start])
            open_from = -1
        if not length and open_from < 0:
            open_from = start
        start += length or 1
    if open_from >= 0:
        unknown.append(text[open_from:])
    return unknown
