"""OpenAI's `chat.completion`, and its stream of `chat.completion.chunk`s.

`id`, `created`, `model` and `system_fingerprint` are ours: what an upstream says there tells how the studio is built.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from generation.chat.deltas import Delta, ToolCallPiece, Usage

STREAM_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


def new_id() -> str:
    """A completion's id, as OpenAI's begin."""
    return f"chatcmpl-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHead:
    """What every part of an answer says. `fingerprint` names our release; `created` is Unix time."""

    model: str
    fingerprint: str
    id: str = field(default_factory=new_id)
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self, kind: str) -> dict[str, Any]:
        """The members that stand first."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class WholeAnswer:
    """Gathers the deltas into one `chat.completion`."""

    def __init__(self, head: AnswerHead) -> None:
        self._head = head
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, list[ToolCallPiece]] = {}
        self._finish = "stop"

    def add(self, delta: Delta) -> None:
        """One step more."""
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        for piece in delta.tool_calls:
            self._calls.setdefault(piece.index, []).append(piece)
        if delta.finish is not None:
            self._finish = delta.finish

    def render(self, usage: Usage) -> bytes:
        """The JSON."""
        text, calls = "".join(self._text), self._tool_calls()
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return orjson.dumps({**self._head.fields("chat.completion"), "choices": [choice], "usage": usage_json(usage)})

    def _tool_calls(self) -> list[dict[str, Any]]:
        found = []
        for _, pieces in sorted(self._calls.items()):
            arguments = "".join(piece.arguments for piece in pieces)
            name = "".join(piece.name for piece in pieces)
            call_id = next((piece.id for piece in pieces if piece.id), "") or new_call_id()
            found.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})
        return found


class StreamedAnswer:
    """Renders each delta as an event. The frame around the words is made once: most events are nothing but words."""

    def __init__(self, head: AnswerHead, *, include_usage: bool) -> None:
        self._head = head
        self._include_usage = include_usage
        self._begun: set[int] = set()  # calls whose id and name were told
        start, end = self._frame({"content": "\0"}, None).split(b'"\\u0000"')
        self._before, self._after = start, end

    def begin(self) -> bytes:
        """The first event: whose words follow."""
        return self._frame({"role": "assistant", "content": "", "refusal": None}, None)

    def chunk(self, delta: Delta) -> bytes:
        """The event of a delta; nothing for one that only counts."""
        if delta.text and not (delta.reasoning or delta.tool_calls or delta.finish):
            return self._before + orjson.dumps(delta.text) + self._after
        content: dict[str, Any] = {}
        if delta.reasoning:
            content["reasoning_content"] = delta.reasoning
        if delta.text:
            content["content"] = delta.text
        if delta.tool_calls:
            content["tool_calls"] = [self._call(piece) for piece in delta.tool_calls]
        # OpenAI's last event with a choice says why it ended, and nothing else.
        events = self._frame(content, None) if content else b""
        return events + self._frame({}, delta.finish) if delta.finish else events

    def end(self, usage: Usage) -> bytes:
        """The usage, where it was asked for, and the end."""
        if not self._include_usage:
            return DONE
        body = {**self._head.fields("chat.completion.chunk"), "choices": [], "usage": usage_json(usage)}
        return _event(body) + DONE

    def _frame(self, content: Mapping[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": content, "logprobs": None, "finish_reason": finish}
        body: dict[str, Any] = {**self._head.fields("chat.completion.chunk"), "choices": [choice]}
        if self._include_usage:
            body["usage"] = None
        return _event(body)

    def _call(self, piece: ToolCallPiece) -> dict[str, Any]:
        if piece.index in self._begun:
            return {"index": piece.index, "function": {"arguments": piece.arguments}}
        self._begun.add(piece.index)
        return {
            "index": piece.index,
            "id": piece.id or new_call_id(),
            "type": "function",
            "function": {"name": piece.name, "arguments": piece.arguments},
        }


def error_event(error: Mapping[str, Any]) -> bytes:
    """The last event of a stream that fails; `error` is what a refusal's body would be (`{"error": {…}}`)."""
    return b"event: error\n" + _event(error)


def usage_json(usage: Usage) -> dict[str, Any]:
    """Tokens, in OpenAI's words."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def new_call_id() -> str:
    """A call's id, where the upstream gives none."""
    return f"call_{secrets.token_hex(12)}"


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
