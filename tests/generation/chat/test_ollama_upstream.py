"""Ollama's kind of upstream, field by field with its published API.

Source: ollama/ollama, docs/openapi.yaml (commit 017eb8ae4895, schemas ChatRequest, ChatMessage, ModelOptions,
ChatStreamEvent, ChatResponse, ListResponse) and docs/api.md (commit 9fbfa74219fa), read on 2026-11-26.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from accounts.errors import InvalidRequest
from generation.chat.deltas import Delta, Usage
from generation.chat.request import ChatRequest, Message, ResponseFormat, TextPart, Tool, ToolCall
from generation.chat.targets import Target, Upstream
from generation.chat.upstreams.dialect import AnswerError
from generation.chat.upstreams.ollama import OLLAMA
from tests.generation.chat.scripted import line
from tests.generation.chat.test_openai_upstream import NESTED, WHOLE

# Everything that the published schemas name.
REQUEST = {"model", "messages", "tools", "format", "options", "stream", "think", "keep_alive"}
MESSAGE = {"role", "content", "images", "tool_calls", "tool_name"}
OPTIONS = {"seed", "temperature", "top_k", "top_p", "min_p", "stop", "num_ctx", "num_predict"}
MORE_OPTIONS = {"presence_penalty", "frequency_penalty"}  # docs/api.md, "Generate request (With options)"
TARGET = Target(
    upstream=Upstream(id="u", kind="ollama", base_url="http://127.0.0.1:11434"), model="qwen3", context_tokens=8192
)


def build(request: ChatRequest) -> Any:
    call = OLLAMA.build(request, TARGET)
    assert call.path == "/api/chat"
    return json.loads(call.body)


def test_every_field_is_sent() -> None:
    assert build(WHOLE) == {
        "model": "qwen3",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "see", "images": ["QQ=="]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "weather", "arguments": {"in": "Bonn"}}}],
            },
            {"role": "tool", "content": "rain", "tool_name": "weather"},
        ],
        "stream": True,
        # The one tool that must be called is the only one it hears of.
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "of a place", "parameters": {"type": "object"}},
            }
        ],
        "format": {"type": "object"},
        "think": "low",
        "options": {
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": -5,
            "num_predict": 9,
            "stop": ["a", "b"],
            "presence_penalty": -1,
            "frequency_penalty": 2,
            "num_ctx": 8192,
        },
    }


def test_nothing_is_sent_that_the_schema_does_not_name() -> None:
    sent = build(WHOLE)
    assert sent.keys() <= REQUEST
    assert all(message.keys() <= MESSAGE for message in sent["messages"])
    assert sent["options"].keys() <= OPTIONS | MORE_OPTIONS


HI = ChatRequest(model="chat", messages=(Message(role="user", parts=(TextPart("a"), TextPart("b"))),), prompt_chars=2)


def test_what_nobody_said_is_not_sent() -> None:
    """Its default is `stream: true`, which is said all the same."""
    plain = json.loads(OLLAMA.build(HI, replace(TARGET, context_tokens=None)).body)
    assert plain == {"model": "qwen3", "messages": [{"role": "user", "content": "a\nb"}], "stream": True}


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high")],
)
def test_efforts(effort: Any, think: Any) -> None:
    assert build(replace(HI, reasoning_effort=effort))["think"] == think


def test_forms() -> None:
    assert "format" not in build(replace(HI, response_format=ResponseFormat(type="text")))
    assert build(replace(HI, response_format=ResponseFormat(type="json_object")))["format"] == "json"


def test_choices_among_tools() -> None:
    asked = replace(HI, tools=(Tool(name="a"), Tool(name="b")))
    names = [tool["function"]["name"] for tool in build(asked)["tools"]]
    assert names == ["a", "b"]
    assert build(asked)["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "tools" not in build(replace(asked, tool_choice="none"))


@pytest.mark.parametrize("arguments", ["{", "[]", "5", NESTED.decode()], ids=["broken", "list", "number", "deep"])
def test_arguments_must_be_an_object(arguments: str) -> None:
    call = ToolCall(id="c", name="a", arguments=arguments)
    with pytest.raises(InvalidRequest, match="the arguments of a tool call"):
        build(replace(HI, messages=(*HI.messages, Message(role="assistant", tool_calls=(call,)))))


def test_the_last_call_with_an_id_names_the_tool() -> None:
    calls = tuple(
        Message(role="assistant", tool_calls=(ToolCall(id="c", name=name, arguments="{}"),)) for name in ("a", "b")
    )
    answer = Message(role="tool", tool_call_id="c", parts=(TextPart("x"),))
    assert build(replace(HI, messages=(*HI.messages, *calls, answer)))["messages"][-1]["tool_name"] == "b"


def read(*pieces: bytes) -> list[Delta]:
    reader = OLLAMA.reader("application/x-ndjson")
    found = [delta for piece in pieces for delta in reader.feed(piece)]
    return [delta for delta in [*found, *reader.end()] if delta]


END = line(
    message={"role": "assistant", "content": ""},
    done=True,
    done_reason="stop",
    total_duration=4883583458,
    load_duration=1334875,
    prompt_eval_count=26,
    prompt_eval_duration=342546000,
    eval_count=282,
    eval_duration=4535599000,
)


def says(**message: Any) -> bytes:
    return line(message={"role": "assistant", "content": "", **message}, done=False)


def test_a_stream() -> None:
    found = read(says(thinking="hm", images=None), says(content="The"), says(content=" sky"), END)
    assert found == [
        Delta(reasoning="hm"),
        Delta("The"),
        Delta(" sky"),
        Delta(finish="stop", usage=Usage(26, 282)),
    ]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_the_borders_of_packets_mean_nothing(size: int) -> None:
    data = says(content="天空") + END
    assert read(*(data[at : at + size] for at in range(0, len(data), size))) == read(says(content="天空"), END)
    assert read(data.rstrip(b"\n")) == read(data)


def test_an_answer_that_was_not_streamed() -> None:
    """docs/api.md, "Chat request (with tools)": one object, arguments as an object, no ids."""
    call = {"function": {"name": "get_current_weather", "arguments": {"format": "celsius", "location": "Paris, FR"}}}
    (found,) = read(
        line(
            message={"role": "assistant", "content": "", "tool_calls": [call]},
            done_reason="stop",
            done=True,
            prompt_eval_count=122,
            eval_count=33,
        )
    )
    (piece,) = found.tool_calls
    assert piece.name == "get_current_weather" and piece.id.startswith("call_") and len(piece.id) == 29
    assert json.loads(piece.arguments) == {"format": "celsius", "location": "Paris, FR"}
    assert (found.finish, found.usage) == ("tool_calls", Usage(122, 33))


def test_calls_are_numbered_as_they_come() -> None:
    call = {"function": {"name": "a", "arguments": {}}}
    first, second, end = read(says(tool_calls=[call]), says(tool_calls=[{**call, "id": "c2"}]), END)
    assert (first.tool_calls[0].index, second.tool_calls[0].index) == (0, 1)
    assert second.tool_calls[0].id == "c2" and end.finish == "tool_calls"


@pytest.mark.parametrize(("reason", "ours"), [("stop", "stop"), ("length", "length"), ("", "stop"), ("new", "stop")])
def test_reasons(reason: str, ours: str) -> None:
    assert read(line(message={"content": "x"}, done=True, done_reason=reason))[0].finish == ours


@pytest.mark.parametrize(
    "data",
    [
        says(content="broken off"),
        b"{broken\n",
        b"[]\n",
        line(error="model runner has unexpectedly stopped"),
        line(message=[], done=False) + b'{"message": 5}\n',
        says(content=5),
        says(tool_calls={"a": 1}),
        says(tool_calls=[{"name": "a"}]),
        b'{"message": {"tool_calls": [{"function": {"name": "a", "arguments": %b}}]}}\n' % NESTED,
        line(message={"content": ""}, done=True, done_reason="load"),
        b"x" * 1_100_000,
    ],
)
def test_what_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(AnswerError):
        read(data)


def test_models_and_errors() -> None:
    """`GET /api/tags`."""
    entry = {"name": "qwen3:32b", "model": "qwen3:32b", "size": 1, "digest": "x", "details": {}}
    assert OLLAMA.read_models(json.dumps({"models": [entry, {"name": 5}]}).encode()) == ["qwen3:32b"]
    with pytest.raises(AnswerError):
        OLLAMA.read_models(b"{}")
    assert OLLAMA.read_error(b'{"error": "model not found"}') == "model not found"
    assert OLLAMA.read_error(b"404 page not found") == ""
