"""What clients get: OpenAI's shapes, whole and streamed, with our own names in them."""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from generation.chat.answers import DONE, AnswerHead, StreamedAnswer, WholeAnswer, error_event
from generation.chat.deltas import Delta, ToolCallPiece, Usage

HEAD = AnswerHead(model="chat", fingerprint="qs-1", id="chatcmpl-1", created=7)
CALLS = (
    Delta(tool_calls=(ToolCallPiece(0, "c1", "weather", ""),)),
    Delta(tool_calls=(ToolCallPiece(0, "", "", '{"in": '),)),
    Delta(tool_calls=(ToolCallPiece(0, "", "", '"Bonn"}'), ToolCallPiece(1, "", "b", "{}"))),
    Delta(finish="tool_calls"),
)


def whole(*deltas: Delta) -> Any:
    answer = WholeAnswer(HEAD)
    for delta in deltas:
        answer.add(delta)
    found = json.loads(answer.render(Usage(7, 2, 1, 3)))
    ChatCompletion.model_validate(found, strict=False)
    return found


def events(*deltas: Delta, include_usage: bool = False) -> list[Any]:
    answer = StreamedAnswer(HEAD, include_usage=include_usage)
    data = answer.begin() + b"".join(answer.chunk(delta) for delta in deltas) + answer.end(Usage(7, 2))
    assert data.endswith(DONE)
    found = [json.loads(part.removeprefix(b"data: ")) for part in data.removesuffix(DONE).split(b"\n\n") if part]
    for one in found:
        ChatCompletionChunk.model_validate(one, strict=False)
    return found


def test_a_whole_answer() -> None:
    assert whole(Delta("Hel"), Delta("lo", reasoning="hm"), Delta(finish="length")) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "chat",
        "system_fingerprint": "qs-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None, "reasoning_content": "hm"},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_calls_of_a_whole_answer() -> None:
    choice = whole(*CALLS)["choices"][0]
    first, second = choice["message"]["tool_calls"]
    assert first == {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in": "Bonn"}'}}
    assert second["id"].startswith("call_") and second["function"] == {"name": "b", "arguments": "{}"}
    assert choice["message"]["content"] is None and choice["finish_reason"] == "tool_calls"


def test_an_empty_answer() -> None:
    assert whole(Delta(finish="stop"))["choices"][0]["message"]["content"] == ""


def test_a_stream() -> None:
    first, *rest = events(Delta('He"l\u2028好\n'), Delta(), Delta(reasoning="hm"), Delta("x", finish="stop"))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    deltas = [(one["choices"][0]["delta"], one["choices"][0]["finish_reason"]) for one in rest]
    assert deltas == [
        ({"content": 'He"l\u2028好\n'}, None),
        ({"reasoning_content": "hm"}, None),
        ({"content": "x"}, None),
        ({}, "stop"),
    ]
    for one in (first, *rest):
        assert (one["id"], one["created"], one["model"], one["system_fingerprint"]) == ("chatcmpl-1", 7, "chat", "qs-1")
        assert "usage" not in one


def test_usage_comes_last() -> None:
    *before, last = events(Delta("x"), Delta(finish="stop"), include_usage=True)
    assert all(one["usage"] is None for one in before)
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 9


def test_calls_in_a_stream() -> None:
    found = [one["choices"][0]["delta"].get("tool_calls") for one in events(*CALLS)[1:-1]]
    assert found[0] == [{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]
    assert found[1] == [{"index": 0, "function": {"arguments": '{"in": '}}]
    assert found[2][1]["id"].startswith("call_") and found[2][1]["function"]["name"] == "b"


def test_ids_are_never_the_same() -> None:
    one, two = (AnswerHead(model="m", fingerprint="f") for _ in range(2))
    assert one.id != two.id and one.id.startswith("chatcmpl-")


def test_an_error_is_an_event() -> None:
    assert error_event({"error": {"message": "x"}}) == b'event: error\ndata: {"error":{"message":"x"}}\n\n'
