"""The mood of texts, asked of a text model: as a choice with probabilities where the upstream can, else in a word.

No HTTP and no database in here: whoever calls brings the ways to ask. An answer counts only if it is a mood.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from accounts.errors import InvalidRequest
from generation.chat.tasks import MOODS, Choice, Prompt, SentimentTask
from generation.chat.tokens import MESSAGE_TOKENS, estimate_text
from generation.errors import SentimentUnclear

MAX_TEXTS = 100
MAX_CHARS = 4_000  # of one text
MAX_MODEL = 60
AT_ONCE = 4
"""Texts of one request that are asked about at the same time: an upstream has others to serve."""
CHOICE_PATH = "/v1/systemone"
QUESTION = "mood"
_SUM_SLACK = 0.02  # probabilities that do not add up to 1 are somebody's mistake
_REMEMBERED = 200  # characters of an answer that was no mood
_MARK = re.compile(r"<\|(?=\w{1,40}\|>)")
"""How a chat template's marks begin (`<|im_start|>`): servers read them in texts too, which could then speak for us."""
_LATIN_OR_CHINESE = re.compile(r"[a-z]+|[\u3400-\u9fff]+")
_WORDS = {
    **{mood: mood for mood in MOODS},
    **dict.fromkeys(("积极", "正面", "正向", "积极的", "正面的"), "positive"),
    **dict.fromkeys(("中性", "中立", "中性的"), "neutral"),
    **dict.fromkeys(("消极", "负面", "负向", "消极的", "负面的"), "negative"),
}


class CannotChoose(Exception):
    """No upstream of the model has `CHOICE_PATH`."""


class Ask(Protocol):
    """How an upstream is asked (`moodasking.py`). Both ways raise what the relay raises."""

    @property
    def chooses(self) -> bool:
        """Whether it may have `CHOICE_PATH`."""
        ...

    async def choose(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Post a body to `CHOICE_PATH`, the model's name added; the answer's JSON. Raises `CannotChoose`."""
        ...

    async def say(self, messages: Sequence[Mapping[str, str]], *, temperature: float, max_tokens: int) -> str:
        """The text of the answer to a conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Mood:
    """What a model makes of one text. `scores` are probabilities by mood; None where the model said only a word."""

    label: str
    scores: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.label not in MOODS:
            raise ValueError(f"{self.label!r} is no mood")

    def to_json(self) -> dict[str, Any]:
        """As the API answers it."""
        scores = None if self.scores is None else {mood: round(value, 4) for mood, value in self.scores.items()}
        return {"label": self.label, "scores": scores}


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks: the mood of each text. `single`: it sent one text, not a list. No `model`: the first."""

    texts: tuple[str, ...]
    single: bool
    model: str | None = None


def read_question(body: object) -> Question:
    """A request: `{"text": …}` or `{"texts": […]}`, and perhaps a `model`. Raises `InvalidRequest` naming field and
    bound.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequest('the body must be an object with "text" or "texts"')
    for name in body:
        if name not in ("text", "texts", "model"):
            raise InvalidRequest(f"unknown field {name[:60]!r}", field=name[:60])
    if ("text" in body) == ("texts" in body):
        raise InvalidRequest('send either "text" or "texts"', field="text")
    model = body.get("model")
    if model is not None and not (isinstance(model, str) and 0 < len(model) <= MAX_MODEL):
        raise InvalidRequest(f"model must be a name of 1 to {MAX_MODEL} characters", field="model")
    if "text" in body:
        return Question((_check_text("text", body["text"]),), single=True, model=model)
    texts = body["texts"]
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidRequest(f"texts must be a list of 1 to {MAX_TEXTS} texts", field="texts")
    found = tuple(_check_text(f"texts[{number}]", text) for number, text in enumerate(texts))
    return Question(found, single=False, model=model)


def tokens_of(texts: Sequence[str], task: SentimentTask) -> int:
    """Tokens that the moods of these texts may take, asked in words, by length."""
    each = estimate_text(task.prompt.system) + 2 * MESSAGE_TOKENS + task.prompt.max_tokens
    return sum(estimate_text(text) + each for text in texts)


def _check_text(field: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest(f"{field} must be a text that says something", field=field)
    if len(text) > MAX_CHARS:
        raise InvalidRequest(f"{field} too long, max {MAX_CHARS} chars", field=field)
    return text


async def judge_texts(texts: Sequence[str], *, task: SentimentTask, ask: Ask) -> list[Mood]:
    """The mood of each text, in their order, `AT_ONCE` of them at a time.

    The first error ends them all and is raised: `SentimentUnclear` where the model answers what is no mood, twice.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def judge(text: str) -> Mood:
        async with places:
            return await judge_text(text, task=task, ask=ask)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge(text)) for text in texts]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def judge_text(text: str, *, task: SentimentTask, ask: Ask) -> Mood:
    """The mood of one text. Raises `SentimentUnclear`."""
    text = _MARK.sub("< |", text)
    if ask.chooses:
        with suppress(CannotChoose):
            return read_choice(await ask.choose(choice_body(text, task.choice)))
    return await _judge_by_word(text, task.prompt, ask)


def choice_body(text: str, choice: Choice) -> dict[str, Any]:
    """The question as `/v1/systemone` wants it, without the model's name."""
    question = {"type": "choice", "instructions": choice.instructions, "criteria": choice.criteria}
    return {"state": text, "questions": {QUESTION: question}}


def read_choice(answer: Mapping[str, Any]) -> Mood:
    """The mood in an answer of `/v1/systemone`. Raises `SentimentUnclear` for what is none."""
    try:
        found = answer["answers"][QUESTION]["probabilities"]
        scores = {mood: float(found[mood]) for mood in MOODS}
    except (KeyError, TypeError, ValueError):
        raise SentimentUnclear from None
    if not all(0 <= value <= 1 for value in scores.values()) or abs(sum(scores.values()) - 1) > _SUM_SLACK:
        raise SentimentUnclear
    return Mood(max(scores, key=lambda mood: scores[mood]), scores)


async def _judge_by_word(text: str, prompt: Prompt, ask: Ask) -> Mood:
    """Ask, and once more with a reminder: at temperature 0 the same question has the same answer."""
    messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": text}]
    for _ in range(2):
        answer = await ask.say(messages, temperature=prompt.temperature, max_tokens=prompt.max_tokens)
        if label := read_word(answer):
            return Mood(label)
        messages += [
            {"role": "assistant", "content": answer[:_REMEMBERED]},
            {"role": "user", "content": prompt.again},
        ]
    raise SentimentUnclear


def read_word(answer: str) -> str | None:
    """The one mood that an answer names, English or Chinese; None where it names none, or several, or denies one."""
    words = _LATIN_OR_CHINESE.findall(answer.lower())
    found = {_WORDS[word] for word in words if word in _WORDS}
    return found.pop() if len(found) == 1 and "not" not in words else None
