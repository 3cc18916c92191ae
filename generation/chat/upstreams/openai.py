"""OpenAI's chat completions: vLLM, `transformers serve` and every compatible server.

Always streamed, whatever the client wants: an answer that is not streamed cannot be stopped on `transformers serve`,
and nobody sees whether the server still lives. A stream may end without `data: [DONE]`, and one JSON is taken too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from generation.chat.deltas import FINISHES, Delta, ToolCallPiece, Usage
from generation.chat.request import ChatRequest, ImagePart, Message, ResponseFormat, Tool
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
from generation.chat.upstreams.frame import Frame
from generation.chat.upstreams.lines import Lines

MAX_CALLS = 128
EVENT_BYTES = 2_097_152
# Reasons of other servers, in OpenAI's words.
_FINISHES = {"function_call": "tool_calls", "eos": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
_ONLY_WORDS = frozenset({"role", "content"})
_FAILED = frozenset({"abort", "error"})  # vLLM: the request was given up


class OpenAI:
    """The dialect."""

    models_path = "/v1/models"

    def health_path(self, upstream: Upstream) -> str:
        """`/health` is vLLM's and `transformers serve`'s; the latter's list of models may fail while it is well."""
        return upstream.health_path or "/health"

    def build(self, request: ChatRequest, target: Target) -> Call:
        """`POST /v1/chat/completions`."""
        takes = target.upstream.fields
        optional: dict[str, Any] = {
            "stream_options": {"include_usage": True},
            "response_format": _format_json(request.response_format),
            "tools": [_tool_json(tool) for tool in request.tools] or None,
            "tool_choice": _choice_json(request),
            "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
            "seed": request.seed,
            "stop": list(request.stop) or None,
            "reasoning_effort": request.reasoning_effort,
            "user": request.user,
        }
        body: dict[str, Any] = {
            "model": target.model,
            "messages": [_message_json(message) for message in request.messages],
            "stream": True,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            **{name: value for name, value in optional.items() if name in takes},
        }
        content = orjson.dumps({name: value for name, value in body.items() if value is not None})
        return Call(path="/v1/chat/completions", headers=headers_of(target.upstream), body=content)

    def reader(self, media_type: str) -> Reader:
        """Of a stream, or of one JSON where the server did not stream."""
        return WholeReader() if media_type == "application/json" else StreamReader()

    def read_models(self, body: bytes) -> list[str]:
        """`{"data": [{"id": …}]}`."""
        entries = parse_object(body).get("data")
        if not isinstance(entries, list):
            raise AnswerError("the list of models has no data")
        return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    def read_error(self, body: bytes) -> str:
        """`{"error": {"message": …}}`, or what FastAPI says."""
        try:
            found = parse_object(body)
        except AnswerError:
            return ""
        return message_of(found.get("error") or found.get("detail") or found.get("message"))


def message_of(error: Any) -> str:
    """The words of an error, whatever its shape."""
    if isinstance(error, Mapping):
        error = error.get("message")
    return error if isinstance(error, str) else ""


def _message_json(message: Message) -> dict[str, Any]:
    # Chat templates know no developer: to all but OpenAI's own models it is the system.
    role = "system" if message.role == "developer" else message.role
    found: dict[str, Any] = {"role": role, "content": _content_json(message)}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def _content_json(message: Message) -> Any:
    if not message.images:
        return message.text if message.parts else ("" if message.role != "assistant" else None)
    return [
        _image_json(part) if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
        for part in message.parts
    ]


def _image_json(part: ImagePart) -> dict[str, Any]:
    image = {"url": f"data:{part.media_type};base64,{part.base64}"}
    return {"type": "image_url", "image_url": image if part.detail is None else {**image, "detail": part.detail}}


def _tool_json(tool: Tool) -> dict[str, Any]:
    values = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": {name: value for name, value in values.items() if value is not None}}


def _choice_json(request: ChatRequest) -> Any:
    if request.forced_tool is not None:
        return {"type": "function", "function": {"name": request.forced_tool}}
    return request.tool_choice if request.tools else None


def _format_json(form: ResponseFormat | None) -> dict[str, Any] | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "json_object"}
    values = {"name": form.name, "description": form.description, "schema": form.schema, "strict": form.strict}
    return {
        "type": "json_schema",
        "json_schema": {name: value for name, value in values.items() if value is not None},
    }


class StreamReader:
    """Server-sent events, each with a `chat.completion.chunk`."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._data: list[bytes] = []
        self._size = 0
        self._finish: str | None = None
        self._frame = Frame(_read_event)
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas of the events that these bytes complete."""
        found: list[Delta] = []
        for line in self._lines.feed(data):
            if self.done:
                break
            self._take(line, found)
        return found

    def end(self) -> list[Delta]:
        """`transformers serve` sends no `[DONE]`: a stream that has given a reason for its end is complete."""
        found: list[Delta] = []
        if not self.done:
            self._take(self._lines.end(), found)
            self._take(b"", found)
        if not self.done and self._finish is None:
            raise AnswerError("the stream ended without a reason")
        self.done = True
        return found

    def _take(self, line: bytes, found: list[Delta]) -> None:
        if not line:
            if self._data:
                event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data, self._size = [], 0
                self._take_event(event, found)
        elif line.startswith(b"data:"):
            self._data.append(line[5:])  # the blank that may follow is nothing to JSON
            self._size += len(line)
            if self._size > EVENT_BYTES:
                raise AnswerError(f"an event has more than {EVENT_BYTES} bytes")

    def _take_event(self, event: bytes, found: list[Delta]) -> None:
        if words := self._frame.words(event):
            found.append(Delta(words))
            return
        if event.strip() == b"[DONE]":
            self.done = True
            if self._finish is None:
                self._finish = "stop"
                found.append(Delta(finish="stop"))
            return
        delta = _read_event(event)
        self._frame.learn(event, delta)
        if delta.finish is not None:
            if self._finish is not None:  # one end is enough
                delta = Delta(delta.text, delta.reasoning, delta.tool_calls, None, delta.usage)
            else:
                self._finish = delta.finish
        found.append(delta)


def _read_event(event: bytes) -> Delta:
    return read_chunk(parse_object(event), "delta")


class WholeReader:
    """One `chat.completion`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.done = False

    def feed(self, data: bytes) -> list[Delta]:
        """Nothing, before it is whole; an empty delta tells that it has begun."""
        self._parts.append(data)
        return [Delta()] if len(self._parts) == 1 else []

    def end(self) -> list[Delta]:
        """The whole answer."""
        self.done = True
        delta = read_chunk(parse_object(b"".join(self._parts)), "message")
        if delta.finish is None:
            raise AnswerError("the answer has no reason for its end")
        return [delta]


def read_chunk(data: Mapping[str, Any], part: str) -> Delta:
    """A chunk (`part` is `delta`) or a whole answer (`message`) as a delta. Raises `AnswerError`."""
    if data.get("error"):
        raise failure_in(message_of(data["error"]))
    usage = _read_usage(data.get("usage"))
    choices = data.get("choices")
    if not isinstance(choices, list):
        raise AnswerError("a chunk without choices")
    choice = choices[0] if choices else None  # one answer was asked for
    if choice is None:
        return Delta(usage=usage)
    if not isinstance(choice, dict):
        raise AnswerError("a choice is no object")
    message = choice.get(part) or {}
    if not isinstance(message, dict):
        raise AnswerError(f"{part} is no object")
    finish, content = choice.get("finish_reason"), message.get("content")
    if content and finish is None and usage is None and isinstance(content, str) and _ONLY_WORDS.issuperset(message):
        return Delta(content)  # nearly all of them
    return Delta(
        text=text_in(message, "content", "refusal"),
        reasoning=text_in(message, "reasoning_content", "reasoning"),
        tool_calls=_read_calls(message.get("tool_calls")),
        finish=_read_finish(finish),
        usage=usage,
    )


def _read_finish(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise AnswerError("finish_reason is no text")
    if value in _FAILED:
        raise AnswerError(f"the server gave up: {value}")
    return value if value in FINISHES else _FINISHES.get(value, "stop")


def _read_calls(value: Any) -> tuple[ToolCallPiece, ...]:
    if not value:
        return ()
    if not isinstance(value, list):
        raise AnswerError("tool_calls is no list")
    return tuple(_read_call(place, one) for place, one in enumerate(value))


def _read_call(place: int, value: Any) -> ToolCallPiece:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict):
        raise AnswerError("a tool call without a function")
    index = value.get("index", place)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_CALLS:
        raise AnswerError("a tool call without a place")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # some servers give the object itself
        arguments = arguments_in(arguments)
    return ToolCallPiece(
        index=index,
        id=text_in(value, "id")[:256],
        name=text_in(function, "name")[:256],
        arguments=text_in({"arguments": arguments}, "arguments"),
    )


def _read_usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    inner, outer = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    return Usage(
        prompt=count_in(value, "prompt_tokens"),
        completion=count_in(value, "completion_tokens"),
        reasoning=count_in(outer, "reasoning_tokens") if isinstance(outer, dict) else 0,
        cached=count_in(inner, "cached_tokens") if isinstance(inner, dict) else 0,
    )


OPENAI = OpenAI()
