"""What stands around the words of events: taken for granted only where reading the whole event says the same."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest

from generation.chat.deltas import Delta
from generation.chat.upstreams.dialect import AnswerError
from generation.chat.upstreams.frame import TRIES, Frame
from generation.chat.upstreams.openai import StreamReader, read_chunk

WORDS = [
    "",
    "a",
    " b",
    '"',
    "\\",
    '\\"',
    '"content":"x"',
    "}]}",
    "\n",
    "\0",
    "好",
    "\U0001f600",
    "é",
    "a" * 300,
    "null",
]


class Counting:
    """Reads whole events, and knows how many."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, event: bytes) -> Delta:
        self.read += 1
        return read_chunk(orjson.loads(event), "delta")


def body(words: Any, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": words}, "logprobs": None, "finish_reason": None}
    return {"id": "x", "created": 1, "model": "m", "choices": [choice], **more}


def written(value: Any, *, ascii_: bool = False, blanks: bool = False) -> bytes:
    separators = None if blanks else (",", ":")
    return json.dumps(value, ensure_ascii=ascii_, separators=separators).encode()


def feed(frame: Frame, reader: Counting, event: bytes) -> Delta:
    """As the stream's reader does it."""
    if words := frame.words(event):
        return Delta(words)
    delta = reader(event)
    frame.learn(event, delta)
    return delta


@pytest.mark.parametrize("ascii_", [False, True])
@pytest.mark.parametrize("blanks", [False, True])
def test_events_that_differ_in_their_words_are_read_once(ascii_: bool, blanks: bool) -> None:
    reader = Counting()
    frame = Frame(reader)
    given = [words for words in WORDS * 10 if words]
    found = [feed(frame, reader, written(body(words), ascii_=ascii_, blanks=blanks)) for words in given]
    assert found == [Delta(words) for words in given]
    assert reader.read == 2  # the first, and the probe


@pytest.mark.parametrize(
    "event",
    [
        b'{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":null},"logprobs":null,"finish_reason":null}]}',
        b'{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a","content":"b"},"logprobs":null,"finish_reason":null}]}',
        b'{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a","refusal":"b"},"logprobs":null,"finish_reason":null}]}',
        b'{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a},"logprobs":null,"finish_reason":null}]}',
        b'{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":1},"logprobs":null,"finish_reason":null}]}',
        b'{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":',
        b'"},"logprobs":null,"finish_reason":null}]}',
        b"[DONE]",
    ],
)
def test_another_shape_is_not_taken_for_words(event: bytes) -> None:
    reader = Counting()
    frame = Frame(reader)
    feed(frame, reader, written(body("a")))
    assert frame.words(written(body("b"))) == "b"
    assert frame.words(event) == ""


@pytest.mark.parametrize(
    "first",
    [
        body("a") | {"note": {"content": "before"}},
        {"note": {"content": "before"}, **body("a")},
        {"note": '"content":"before"', **body("a")},
        {"note": '\\"content":"before', **body("a")},
        {"content": "top", **body("a")},
    ],
)
def test_the_words_are_what_the_probe_changes(first: dict[str, Any]) -> None:
    """Something else that is called content, before the words: no frame, and no wrong words."""
    reader = Counting()
    frame = Frame(reader)
    feed(frame, reader, written(first))
    for words in ("b", "c"):
        event = json.loads(written(first))
        event["choices"][0]["delta"]["content"] = words
        assert feed(frame, reader, written(event)) == Delta(words)


def test_an_event_with_a_time_of_its_own_is_read_as_a_whole() -> None:
    reader = Counting()
    frame = Frame(reader)
    for number in range(100):
        assert feed(frame, reader, written(body(f"w{number}") | {"created": number})) == Delta(f"w{number}")
    assert reader.read == 100 + TRIES
    fresh = Frame(reader)
    for number in range(100):  # one that changes now and then is learnt anew
        assert feed(fresh, reader, written(body("w") | {"created": number // 5})) == Delta("w")


def shapes(dice: random.Random, words: str) -> bytes:
    """An event as some server may write it."""
    event = body(words)
    choice = event["choices"][0]
    match dice.randrange(12):
        case 0:
            choice["finish_reason"] = dice.choice(["stop", "length", ""])
        case 1:
            choice["delta"] = {"role": "assistant", "content": words}
        case 2:
            choice["delta"]["reasoning_content"] = words
        case 3:
            choice["delta"] = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": words}}]}
        case 4:
            event["usage"] = {"prompt_tokens": 1, "completion_tokens": 2}
        case 5:
            event["choices"] = []
        case 6:
            event["created"] = dice.randrange(3)
    return written(event, ascii_=dice.random() < 0.2, blanks=dice.random() < 0.2)


def test_ten_thousand_events_say_what_they_say_alone() -> None:
    dice = random.Random(7)
    for _ in range(300):
        events = [shapes(dice, dice.choice(WORDS)) for _ in range(35)]
        stream = StreamReader()
        finished = False
        for event in events:
            expected = read_chunk(orjson.loads(event), "delta")
            if finished:
                expected = expected._replace(finish=None)
            finished = finished or expected.finish is not None
            assert stream.feed(b"data: " + event + b"\n\n") == [expected]


def test_an_error_among_words_is_one() -> None:
    stream = StreamReader()
    stream.feed(b"data: " + written(body("a")) + b"\n\n")
    with pytest.raises(AnswerError, match="the server says: no memory"):
        stream.feed(b'data: {"error":{"message":"no memory"}}\n\n')
