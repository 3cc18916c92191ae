"""Small talk of the demo chat model: who it is, what it can do, and that it can do no more (`talk.toml`)."""

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from generation.engine.chatdemo.moods import Sentence, make_sentence
from generation.engine.chatdemo.vocabulary import LANGUAGES, NEGATIVE, POSITIVE

INTENTS = {"hello": 2, "who": 2, "thanks": 1, "bye": 1, "mood": 2, "other": 4}
"""What people want, and how often in training."""


@dataclass(frozen=True)
class Exchange:
    """What somebody says, and the answer. `sentence` where they tell how they feel."""

    text: str
    answer: str
    language: str
    intent: str
    sentence: Sentence | None = None


@dataclass(frozen=True)
class Talk:
    """One language of the file."""

    answers: Mapping[str, str]
    said: Mapping[str, tuple[str, ...]]
    questions: tuple[str, ...]
    things: tuple[str, ...]


@cache
def read_talk(language: str) -> Talk:
    """What people say in `en` or `zh`."""
    table = tomllib.loads((Path(__file__).parent / "talk.toml").read_text(encoding="utf-8"))[language]
    said = {intent: tuple(texts) for intent, texts in table["said"].items()}
    return Talk(table["answers"], said, tuple(table["other"]["questions"]), tuple(table["other"]["things"]))


def sample_exchange(rng: random.Random) -> Exchange:
    """One training exchange."""
    language = rng.choice(LANGUAGES)
    intent = rng.choices(list(INTENTS), list(INTENTS.values()))[0]
    if intent == "mood":
        return answer_mood(_mood(rng, language))
    talk = read_talk(language)
    if intent == "other":
        text = rng.choice(talk.questions).format(rng.choice(talk.things))
    else:
        text = rng.choice(talk.said[intent])
    return Exchange(_dress(text, language, rng), talk.answers[intent], language, intent)


def answer_mood(sentence: Sentence) -> Exchange:
    """What the model says to somebody who tells how they feel."""
    answer = read_talk(sentence.language).answers[sentence.mood]
    return Exchange(sentence.text, answer, sentence.language, sentence.mood, sentence)


def _mood(rng: random.Random, language: str) -> Sentence:
    kind, mood = rng.choice(("plain", "plain", "negated")), rng.choice((POSITIVE, NEGATIVE))
    return make_sentence(rng, kind=kind, mood=mood, language=language)


def _dress(text: str, language: str, rng: random.Random) -> str:
    if language == "zh":
        return text + rng.choice(("", "", "？", "?", "。", "！"))
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", "?", "!", "."))
