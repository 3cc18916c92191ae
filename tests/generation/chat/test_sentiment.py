"""Moods of texts: both ways of asking, and answers that are no mood. A real server is asked in `tests/engine`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from accounts.errors import InvalidRequest
from generation.chat.sentiment import (
    AT_ONCE,
    MAX_CHARS,
    Mood,
    Question,
    judge_text,
    judge_texts,
    read_choice,
    read_question,
    read_word,
)
from generation.chat.tasks import MOODS, read_tasks
from generation.errors import SentimentUnclear

TASK = read_tasks().sentiment
LIKELY = {"positive": 0.9, "neutral": 0.07, "negative": 0.03}


def answer(probabilities: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": "m", "answers": {"mood": {"type": "choice", "choice": "x", "probabilities": probabilities}}}


class Scripted:
    """An upstream that says what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: str, chooses: bool = False, scores: Mapping[str, float] = LIKELY) -> None:
        self.chooses, self.answers, self.scores = chooses, list(answers), scores
        self.asked: list[Any] = []
        self.now, self.most = 0, 0

    async def choose(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(body)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if body["state"] == "broken":
            return {"answers": {}}
        return answer(self.scores)

    async def say(self, messages: Sequence[Mapping[str, str]], *, temperature: float, max_tokens: int) -> str:
        self.asked.append((list(messages), temperature, max_tokens))
        return self.answers.pop(0)


async def test_a_choice_has_probabilities() -> None:
    ask = Scripted(chooses=True)
    mood = await judge_text("今天心情真好", task=TASK, ask=ask)
    assert mood.to_json() == {"label": "positive", "scores": LIKELY}
    (body,) = ask.asked
    assert body["state"] == "今天心情真好"
    question = body["questions"]["mood"]
    assert (question["type"], question["instructions"]) == ("choice", TASK.choice.instructions)
    assert list(question["criteria"]) == list(MOODS)


async def test_a_word_has_none_and_is_asked_for_with_the_tasks_sampling() -> None:
    ask = Scripted(" Negative.\n")
    mood = await judge_text("so sad", task=TASK, ask=ask)
    assert mood.to_json() == {"label": "negative", "scores": None}
    ((messages, temperature, max_tokens),) = ask.asked
    assert messages == [{"role": "system", "content": TASK.prompt.system}, {"role": "user", "content": "so sad"}]
    assert (temperature, max_tokens) == (0, 8)


async def test_what_is_no_mood_is_asked_again_once_with_a_reminder() -> None:
    ask = Scripted("I think that it is a rather long text. " * 20, "neutral")
    assert (await judge_text("The bus leaves at nine", task=TASK, ask=ask)).label == "neutral"
    again = ask.asked[1][0]
    assert [message["role"] for message in again] == ["system", "user", "assistant", "user"]
    assert again[-1]["content"] == TASK.prompt.again
    assert len(again[2]["content"]) == 200

    ask = Scripted("a red circle", "a red circle")
    with pytest.raises(SentimentUnclear):
        await judge_text("something red and round", task=TASK, ask=ask)
    assert len(ask.asked) == 2


@pytest.mark.parametrize(
    ("said", "mood"),
    [
        ("positive", "positive"),
        ("The mood is NEGATIVE!", "negative"),
        ("负面", "negative"),
        ("情绪：积极。", "positive"),
        ("neutral, neutral", "neutral"),
        ("positive or negative", None),
        ("not positive", None),
        ("", None),
        ("positively", None),
        ("好", None),
    ],
)
def test_one_word_counts(said: str, mood: str | None) -> None:
    assert read_word(said) == mood


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"answers": None},
        {"answers": {"mood": {"probabilities": {"positive": 1.0}}}},
        answer({"positive": "much", "neutral": 0, "negative": 0}),
        answer({"positive": 2.0, "neutral": -0.5, "negative": -0.5}),
        answer({"positive": float("nan"), "neutral": 0.5, "negative": 0.5}),
        answer(dict.fromkeys(MOODS, 0.9)),
        answer([0.1, 0.2, 0.7]),  # type: ignore[arg-type]
    ],
)
def test_probabilities_that_are_none_are_refused(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(SentimentUnclear):
        read_choice(wrong)


async def test_many_texts_keep_their_order_and_go_a_few_at_a_time() -> None:
    ask = Scripted(chooses=True)
    moods = await judge_texts([str(number) for number in range(100)], task=TASK, ask=ask)
    assert moods == [Mood("positive", LIKELY)] * 100
    assert [body["state"] for body in ask.asked] == [str(number) for number in range(100)]
    assert ask.most == AT_ONCE


async def test_the_first_error_ends_the_rest_and_comes_bare() -> None:
    ask = Scripted(chooses=True)
    with pytest.raises(SentimentUnclear) as error:
        await judge_texts(["broken", *["fine"] * 99], task=TASK, ask=ask)
    assert error.value.code == "sentiment_unclear"
    assert len(ask.asked) < 20


def test_requests_hold_one_text_or_up_to_a_hundred() -> None:
    assert read_question({"text": "a"}) == Question(("a",), single=True)
    assert read_question({"texts": ["a"] * 100, "model": "m"}) == Question(("a",) * 100, single=False, model="m")


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ([], None, "must be an object"),
        ({}, "text", 'send either "text" or "texts"'),
        ({"text": "a", "texts": ["a"]}, "text", 'send either "text" or "texts"'),
        ({"text": "a", "lang": "en"}, "lang", "unknown field 'lang'"),
        ({"text": "a", "model": 7}, "model", "model must be a name of 1 to 60 characters"),
        ({"text": "a", "model": ""}, "model", "model must be a name of 1 to 60 characters"),
        ({"text": " "}, "text", "text must be a text that says something"),
        ({"text": 7}, "text", "text must be a text that says something"),
        ({"text": "x" * (MAX_CHARS + 1)}, "text", "text too long, max 4000 chars"),
        ({"texts": []}, "texts", "texts must be a list of 1 to 100 texts"),
        ({"texts": ["a"] * 101}, "texts", "texts must be a list of 1 to 100 texts"),
        ({"texts": "a"}, "texts", "texts must be a list of 1 to 100 texts"),
        ({"texts": ["a", None]}, "texts[1]", "texts[1] must be a text that says something"),
    ],
)
def test_other_bodies_are_refused_with_field_and_bound(body: object, field: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_question(body)
    assert refused.value.field == field
    assert message in refused.value.message


def test_a_mood_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="'fine' is no mood"):
        Mood("fine")
