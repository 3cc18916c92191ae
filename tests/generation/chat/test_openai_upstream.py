"""OpenAI's kind of upstream: what it is sent, field by field, and how its stream is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from generation.chat.deltas import Delta, ToolCallPiece, Usage
from generation.chat.request import (
    ChatRequest,
    ImagePart,
    Message,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
)
from generation.chat.targets import OPTIONAL_FIELDS, TRANSFORMERS_FIELDS, Target, Upstream
from generation.chat.upstreams.dialect import AnswerError
from generation.chat.upstreams.openai import OPENAI
from tests.generation.chat.scripted import DONE, HELLO, USAGE, event

WHOLE = ChatRequest(
    model="chat",
    messages=(
        Message(role="developer", parts=(TextPart("be kind"),)),
        Message(
            role="user",
            name="al",
            parts=(TextPart("see"), ImagePart(media_type="image/png", base64="QQ==", detail="low")),
        ),
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name="weather", arguments='{"in": "Bonn"}'),)),
        Message(role="tool", tool_call_id="c1", parts=(TextPart("rain"),)),
    ),
    prompt_chars=9,
    tools=(Tool(name="weather", description="of a place", parameters={"type": "object"}, strict=True), Tool(name="b")),
    tool_choice="=weather",
    parallel_tool_calls=False,
    response_format=ResponseFormat(type="json_schema", name="x", schema={"type": "object"}, strict=True),
    temperature=0.5,
    top_p=0.9,
    presence_penalty=-1,
    frequency_penalty=2,
    seed=-5,
    stop=("a", "b"),
    max_tokens=9,
    user="u",
    reasoning_effort="low",
)


def target(fields: frozenset[str] = OPTIONAL_FIELDS, **more: Any) -> Target:
    return Target(
        upstream=Upstream(id="u", kind="openai", base_url="http://gpu:8000", fields=fields, **more), model="theirs"
    )


def test_every_field_is_sent() -> None:
    call = OPENAI.build(WHOLE, target(credential="secret"))
    assert call.path == "/v1/chat/completions"
    assert dict(call.headers)["Authorization"] == "Bearer secret"
    assert json.loads(call.body) == {
        "model": "theirs",
        "messages": [
            {"role": "system", "content": "be kind"},
            {
                "role": "user",
                "name": "al",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ==", "detail": "low"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in": "Bonn"}'}}
                ],
            },
            {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "of a place",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            },
            {"type": "function", "function": {"name": "b"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
        },
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": -1,
        "frequency_penalty": 2,
        "seed": -5,
        "stop": ["a", "b"],
        "max_tokens": 9,
        "user": "u",
        "reasoning_effort": "low",
    }


def test_what_a_server_does_not_take_is_left_out() -> None:
    """`transformers serve` answers 422 to fields that it does not know."""
    sent = json.loads(OPENAI.build(WHOLE, target(TRANSFORMERS_FIELDS)).body)
    assert sent.keys() == {"model", "messages", "stream", "temperature", "top_p", "max_tokens", "tools", "seed", "stop"}


def test_what_nobody_said_is_not_sent() -> None:
    asked = ChatRequest(model="chat", messages=(Message(role="user", parts=(TextPart("hi"),)),), prompt_chars=2)
    call = OPENAI.build(asked, target())
    assert json.loads(call.body) == {
        "model": "theirs",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "Authorization" not in dict(call.headers)


@pytest.mark.parametrize("base", ["http://gpu:8000", "http://gpu:8000/", "http://gpu:8000/v1", "http://gpu:8000/v1/"])
def test_a_base_url_may_end_in_v1(base: str) -> None:
    assert Upstream(id="u", kind="openai", base_url=base).origin.prefix == ""


def read(*pieces: bytes) -> list[Delta]:
    reader = OPENAI.reader("text/event-stream")
    found: list[Delta] = []
    for piece in pieces:
        found += reader.feed(piece)
    if not reader.done:
        found += reader.end()
    return [delta for delta in found if delta]


# Nested deeper than is ever written again.
NESTED = b'{"x":' + b"[" * 300 + b"]" * 300 + b"}"
DEEP = b'data: {"choices": [{"delta": {"tool_calls": [{"function": {"name": "a", "arguments": %b}}]}}]}\n\n' % NESTED
GOOD = [Delta("Hello"), Delta(" world"), Delta(finish="stop"), Delta(usage=Usage(7, 2))]


def test_a_stream() -> None:
    assert read(*HELLO) == GOOD


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_the_borders_of_packets_mean_nothing(size: int) -> None:
    data = b"".join(HELLO)
    assert read(*(data[at : at + size] for at in range(0, len(data), size))) == GOOD
    assert read(data.replace(b"\n", b"\r\n")) == GOOD


def test_a_stream_may_end_without_done() -> None:
    """`transformers serve` sends no `[DONE]`; the last event may even lack its empty line."""
    assert read(*HELLO[:-1]) == GOOD
    assert read(b"".join(HELLO[:-1]).rstrip(b"\n")) == GOOD


def test_comments_and_other_fields_are_passed_over() -> None:
    assert read(b": keep-alive\n\nid: 7\nevent: message\nretry: 5\n" + HELLO[1], HELLO[3], DONE) == [GOOD[0], GOOD[2]]


def test_done_without_a_reason_is_an_end() -> None:
    assert read(HELLO[1], DONE) == [Delta("Hello"), Delta(finish="stop")]


def test_nothing_is_read_beyond_done() -> None:
    assert read(*HELLO, event({"content": "more"})) == GOOD


@pytest.mark.parametrize(
    "data",
    [
        HELLO[1],  # broken off
        b"data: {broken\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        event({"content": 5}, "stop"),
        event({"tool_calls": "x"}, "stop"),
        event({"tool_calls": [{"index": -1, "function": {}}]}, "stop"),
        event({"tool_calls": [{"index": 10**9, "function": {}}]}, "stop"),
        event({}, "abort"),
        event({}, []),  # type: ignore[arg-type]
        event({"content": "x"}, {}),  # type: ignore[arg-type]
        DEEP,
        b'data: {"error": {"message": "CUDA out of memory"}}\n\n',
        b'data: {"error": "CUDA out of memory"}\n\n',
        b"data: " + b"x" * 2_000_000,
        b"data: x\n" * 300_000,
    ],
)
def test_what_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(AnswerError):
        read(data)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "tool_calls"),
        ("eos", "stop"),
        ("whatever", "stop"),
    ],
)
def test_reasons(theirs: str, ours: str) -> None:
    assert read(event({"content": "x"}, theirs), DONE) == [Delta("x", finish=ours)]


def test_tool_calls_come_in_pieces() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    found = read(
        event({"tool_calls": [first]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": '{"in"'}}]}),
        event({"tool_calls": [{"index": 0, "function": {"arguments": ': "Bonn"}'}}]}),
        event({}, "tool_calls"),
        DONE,
    )
    assert found == [
        Delta(tool_calls=(ToolCallPiece(0, "c1", "weather", ""),)),
        Delta(tool_calls=(ToolCallPiece(0, "", "", '{"in"'),)),
        Delta(tool_calls=(ToolCallPiece(0, "", "", ': "Bonn"}'),)),
        Delta(finish="tool_calls"),
    ]


def test_thoughts_have_two_names() -> None:
    assert read(event({"reasoning_content": "hm"}), event({"reasoning": "so"}), event({}, "stop"), DONE)[:2] == [
        Delta(reasoning="hm"),
        Delta(reasoning="so"),
    ]


def test_counts_with_details() -> None:
    details = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert read(event({}, "stop", usage=details), DONE) == [Delta(finish="stop", usage=Usage(7, 2, 1, 3))]
    assert read(event({}, "stop", usage={"prompt_tokens": -1, "completion_tokens": "x"}), DONE)[0].usage == Usage(0, 0)


def test_an_answer_that_was_not_streamed() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "b", "arguments": "{}"}}
    choice = {"index": 0, "message": {"content": "hi", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    reader = OPENAI.reader("application/json")
    body = json.dumps({"choices": [choice], "usage": USAGE}).encode()
    assert reader.feed(body[:20]) == [Delta()] and reader.feed(body[20:]) == []
    assert reader.end() == [Delta("hi", "", (ToolCallPiece(0, "c1", "b", "{}"),), "tool_calls", Usage(7, 2))]


def test_models_and_errors() -> None:
    assert OPENAI.read_models(b'{"data": [{"id": "a"}, {"id": 5}, 7, {"id": "b"}]}') == ["a", "b"]
    with pytest.raises(AnswerError):
        OPENAI.read_models(b'{"data": 5}')
    assert OPENAI.read_error(b'{"error": {"message": "too long"}}') == "too long"
    assert OPENAI.read_error(b'{"detail": "unknown field"}') == "unknown field"
    assert OPENAI.read_error(b"<html>") == "" and OPENAI.read_error(b'{"error": 5}') == ""
