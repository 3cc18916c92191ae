"""Sentences to choose among several trainings by: templates and words (`split.DEV`) that neither training nor what is
held out has.
"""

import random
import re

from generation.engine.chatdemo.moods import Sentence, opposite, words_of
from generation.engine.chatdemo.split import DEV
from generation.engine.chatdemo.vocabulary import LANGUAGES, NEGATIVE, NEUTRAL, POSITIVE, read_vocabulary

TEMPLATES = {
    "en": {
        "plain": (
            "the visitors looked {feel} when they saw it", "by the end everybody in the room was {feel}",
            "few things are as {thing} as this {topic}", "I would call the {topic} {thing} without a second thought",
            "you can tell how {feel} {who} is", "waiting for the {topic} was {thing}",
        ),
        "negated": (
            "not for one moment was I {feel}", "it would be wrong to call the {topic} {thing}",
            "we left {place} without feeling {feel}", "nobody would describe the {topic} as {thing}",
        ),
        "turn": (
            "at first the {topic} looked {other_thing}, later it became {thing}",
            "I came in {other_feel} and went out {feel}",
        ),
        "neutral": (
            "the {topic} stands between two {flat} houses", "they will deliver the {topic} {time}",
            "{who} works as a cook at {place}", "is there a {topic} near {place}", "my {topic} has the number twelve",
            "we can meet before the {topic}", "the second {topic} is {flat} too", "I have not opened the {topic} yet",
            "as far as I know {who} lives at {place}", "had it not rained, we could have gone to {place}",
        ),
    },
    "zh": {
        "plain": (
            "大家脸上都是{feel}的样子", "提起{topic}，{who}就很{feel}", "{topic}比想象中更{thing}",
            "回家路上我{feel}极了", "居然这么{thing}，真想不到", "{who}的语气听起来很{feel}",
        ),
        "negated": (
            "{topic}绝对称不上{thing}", "我可没{feel}过", "说{topic}{thing}，我不同意", "{who}哪有半点{feel}",
        ),
        "turn": ("{topic}开头{other_thing}，结尾{thing}", "刚才还{other_feel}的我，现在{feel}了"),
        "neutral": (
            "{topic}放在{place}了", "麻烦把{topic}交给{who}", "{who}家住在{place}附近", "{time}我要去{place}取{topic}",
            "这是第二个{topic}", "我还没打开{topic}", "从这里走到{place}要十分钟", "{topic}上写着{who}的名字",
        ),
    },
}  # fmt: skip
SHARES = {"plain": 0.5, "negated": 0.2, "turn": 0.1, "neutral": 0.2}
_GAP = re.compile(r"\{(other_)?(\w+)\}")


def dev_sentences(*, count: int = 600, seed: int = 0) -> list[Sentence]:
    """`count` sentences, half of them Chinese, of the kinds that are held out in the same shares; no two alike."""
    rng = random.Random(f"dev {seed}")
    found: dict[str, Sentence] = {}
    for language in LANGUAGES:
        for kind, share in SHARES.items():
            wanted = len(found) + round(share * count / 2)
            while len(found) < wanted:
                one = _sentence(language, kind, rng)
                found.setdefault(one.text, one)
    return list(found.values())


def _sentence(language: str, kind: str, rng: random.Random) -> Sentence:
    mood = NEUTRAL if kind == "neutral" else rng.choice((POSITIVE, NEGATIVE))
    own = opposite(mood) if kind == "negated" else mood
    used: list[tuple[str, str]] = []

    def fill(gap: re.Match[str]) -> str:
        if gap[2] not in ("feel", "thing"):
            return rng.choice(words_of(language, False).flat[gap[2]])
        side = opposite(own) if gap[1] else own
        words = [word for word in read_vocabulary(language).moods[side][gap[2]] if word in DEV[language]]
        used.append((rng.choice(words), side))
        return used[-1][0]

    text = _GAP.sub(fill, rng.choice(TEMPLATES[language][kind]))
    return Sentence(text, mood, kind, language, tuple(used))
