"""Ollama's own protocol: `POST /api/chat` with newline-delimited JSON, `GET /api/tags`.

Field by field as `docs/openapi.yaml` of ollama/ollama has it (commit 017eb8a, read 2026-11-26; `docs/chat.md` lists
them). Ollama does not make ids for tool calls in every version, has no `tool_choice`, and cuts a prompt that is longer
than `num_ctx` without a word; what follows from that is at its place below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson

from accounts.errors import InvalidRequest
from generation.chat.deltas import FINISHES, Delta, ToolCallPiece, Usage
from generation.chat.request import ChatRequest, Message, ResponseFormat, Tool
from generation.chat.targets import Target, Upstream
from generation.chat.upstreams.dialect import (
    AnswerError,
    Call,
    Reader,
    arguments_in,
    count_in,
    failure_in,
    headers_of,
    parse_object,
    text_in,
)
from generation.chat.upstreams.lines import Lines

# `think` takes true, false or one of three words.
_EFFORTS = {"none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
# Reasons that say nothing about the answer: the model was only loaded, or let go.
_EMPTY = frozenset({"load", "unload"})


class Ollama:
    """The dialect."""

    models_path = "/api/tags"

    def health_path(self, upstream: Upstream) -> str:
        """`/api/version` asks no model for anything."""
        return upstream.health_path or "/api/version"

    def build(self, request: ChatRequest, target: Target) -> Call:
        """`POST /api/chat`. Raises `InvalidRequest` for a call whose arguments are no object."""
        body: dict[str, Any] = {
            "model": target.model,
            "messages": [_message_json(request.messages, index) for index in range(len(request.messages))],
            "stream": True,
            "tools": [_tool_json(tool) for tool in _offered(request)] or None,
            "format": _format_json(request.response_format),
            "think": None if request.reasoning_effort is None else _EFFORTS[request.reasoning_effort],
            "options": _options(request, target) or None,
        }
        try:
            content = orjson.dumps({name: value for name, value in body.items() if value is not None})
        except TypeError:  # all else was read within 32 levels
            raise InvalidRequest("the arguments of a tool call are nested too deep", field="messages") from None
        return Call(path="/api/chat", headers=headers_of(target.upstream), body=content)

    def reader(self, media_type: str) -> Reader:
        """One reader for all: an answer that is not streamed is a single line."""
        return StreamReader()

    def read_models(self, body: bytes) -> list[str]:
        """`{"models": [{"name": …}]}`."""
        entries = parse_object(body).get("models")
        if not isinstance(entries, list):
            raise AnswerError("the list of models has no models")
        return [entry["name"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]

    def read_error(self, body: bytes) -> str:
        """`{"error": "…"}`."""
        try:
            return text_in(parse_object(body), "error")
        except AnswerError:
            return ""


def _message_json(messages: Sequence[Message], index: int) -> dict[str, Any]:
    message = messages[index]
    found: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": message.text,
    }
    if message.images:
        found["images"] = [image.base64 for image in message.images]
    if message.tool_calls:
        found["tool_calls"] = [
            {"function": {"name": call.name, "arguments": _arguments_json(call.arguments, f"messages[{index}]")}}
            for call in message.tool_calls
        ]
    if message.role == "tool":  # Ollama knows calls by the tool's name
        name = message.name or _name_of_call(messages[:index], message.tool_call_id)
        if name:
            found["tool_name"] = name
    return found


def _arguments_json(arguments: str, place: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place}: the arguments of a tool call must be a JSON object as text", field="messages")
    return value


def _name_of_call(earlier: Sequence[Message], call_id: str | None) -> str:
    """Of several calls with one id the last counts."""
    for message in reversed(earlier):
        for call in reversed(message.tool_calls):
            if call.id == call_id:
                return call.name
    return ""


def _offered(request: ChatRequest) -> Sequence[Tool]:
    """Ollama cannot be told which tool to take, but is not told of the others."""
    if request.tool_choice == "none":
        return ()
    if request.forced_tool is not None:
        return [tool for tool in request.tools if tool.name == request.forced_tool]
    return request.tools


def _tool_json(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _format_json(form: ResponseFormat | None) -> Any:
    if form is None or form.type == "text":
        return None
    return "json" if form.type == "json_object" else form.schema


def _options(request: ChatRequest, target: Target) -> dict[str, Any]:
    values: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "num_predict": request.max_tokens,
        "stop": list(request.stop) or None,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "num_ctx": target.context_tokens,
    }
    return {name: value for name, value in values.items() if value is not None}


class StreamReader:
    """A line of JSON for each step; the last says `done` and brings the counts."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._calls = 0
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas of the lines that these bytes complete."""
        return [self._read(line) for line in self._lines.feed(data) if line.strip() and not self.done]

    def end(self) -> list[Delta]:
        """A last line may come without an end; without `done` the answer is not complete."""
        rest = self._lines.end()
        found = [self._read(rest)] if rest.strip() and not self.done else []
        if not self.done:
            raise AnswerError("the stream ended without done")
        return found

    def _read(self, line: bytes) -> Delta:
        data = parse_object(line)
        if data.get("error"):
            raise failure_in(str(data["error"]))
        message = data.get("message") or {}
        if not isinstance(message, dict):
            raise AnswerError("message is no object")
        calls = self._read_calls(message.get("tool_calls"))
        if data.get("done") is not True:
            return Delta(text_in(message, "content"), text_in(message, "thinking"), calls)
        self.done = True
        return Delta(
            text=text_in(message, "content"),
            reasoning=text_in(message, "thinking"),
            tool_calls=calls,
            finish=self._finish(text_in(data, "done_reason")),
            usage=Usage(prompt=count_in(data, "prompt_eval_count"), completion=count_in(data, "eval_count")),
        )

    def _finish(self, reason: str) -> str:
        if reason in _EMPTY:
            raise AnswerError(f"no answer: {reason}")
        if self._calls and reason != "length":
            return "tool_calls"
        return reason if reason in FINISHES else "stop"

    def _read_calls(self, value: Any) -> tuple[ToolCallPiece, ...]:
        if not value:
            return ()
        if not isinstance(value, list):
            raise AnswerError("tool_calls is no list")
        return tuple(map(self._read_call, value))

    def _read_call(self, value: Any) -> ToolCallPiece:
        """A call comes whole, its arguments as an object."""
        function = value.get("function") if isinstance(value, dict) else None
        if not isinstance(function, dict):
            raise AnswerError("a tool call without a function")
        index, self._calls = self._calls, self._calls + 1
        arguments = function.get("arguments")
        return ToolCallPiece(
            index=index,
            id=text_in(value, "id")[:256] or f"call_{uuid4().hex[:24]}",
            name=text_in(function, "name")[:256],
            arguments=arguments if isinstance(arguments, str) else arguments_in(arguments or {}),
        )


OLLAMA = Ollama()
