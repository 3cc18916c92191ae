"""From the bytes of `POST /v1/chat/completions` to a `ChatRequest`.

What cannot be done is refused by name. What OpenAI does not know, or what means nothing here, is passed over and never
sent on: an upstream's body is built from the `ChatRequest` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from accounts.errors import InvalidRequest
from generation.chat.fields import Fields, Wrong, flag, listed, number, one_of, text, whole
from generation.chat.pictures import read_picture
from generation.chat.request import ChatRequest, ImagePart, Message, Role, TextPart
from generation.chat.strictjson import MAX_INTEGER, parse_strict
from generation.chat.tools import read_calls, read_choice, read_format, read_tools, schema_chars

MAX_BODY_BYTES = 1_048_576
MAX_PROMPT_CHARS = 32_768
MAX_MESSAGES = 1000
MAX_PARTS = 64
MAX_IMAGES = 16
MAX_TOKENS = 2**31 - 1
MAX_STOPS = 4
MAX_STOP_CHARS = 256
MAX_NAME_CHARS = 512
ROLES = ("system", "developer", "user", "assistant", "tool")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


def read_chat(body: bytes, *, max_prompt_chars: int | None = MAX_PROMPT_CHARS) -> ChatRequest:
    """Read a body. Raises `BodyUnreadable`, and `InvalidRequest` that names every wrong field with its bound.

    `max_prompt_chars` bounds all words of the prompt together; `None` leaves that to `check_prompt`.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidRequest(f"the body has {len(body)} bytes, max {MAX_BODY_BYTES}", field="body")
    data = parse_strict(body)
    if not isinstance(data, Mapping):
        raise InvalidRequest("the body must be a JSON object", field="body")
    fields = Fields(data)
    request = _read(fields)
    fields.raise_errors()
    if max_prompt_chars is not None:
        check_prompt(request, max_prompt_chars)
    return request


def check_prompt(request: ChatRequest, most: int) -> None:
    """Raise `InvalidRequest` for more words (messages, calls, tools and schemas) than a model takes."""
    if request.prompt_chars > most:
        why = f"prompt too long, max {most} chars"
        raise InvalidRequest(why, field="messages", fields={"messages": [why]})


def _read(fields: Fields) -> ChatRequest:
    read = fields.read
    messages = read("messages", lambda value: _read_messages(fields, value), required=True) or ()
    tools = read_tools(fields)
    form = read_format(fields)
    read("n", _only(1, "more than one answer is not offered, must be 1"))
    read("logprobs", _only(False, "are not offered, must be false"))
    read("top_logprobs", _only(0, "are not offered, must be 0"))
    most = read("max_tokens", whole(1, MAX_TOKENS))
    completion = read("max_completion_tokens", whole(1, MAX_TOKENS))
    options = read("stream_options", lambda value: fields.inner("stream_options", None, value))
    return ChatRequest(
        model=read("model", text(MAX_NAME_CHARS, least=1), required=True) or "",
        messages=messages,
        prompt_chars=sum(map(_chars_of, messages))
        + sum(len(tool.name) + len(tool.description or "") for tool in tools)
        + schema_chars(*(tool.parameters for tool in tools), form.schema if form else None),
        tools=tools,
        tool_choice=read_choice(fields, tools),
        parallel_tool_calls=read("parallel_tool_calls", flag),
        response_format=form,
        stream=bool(read("stream", flag)),
        include_usage=bool(options and options.read("include_usage", flag)),
        temperature=read("temperature", number(0, 2)),
        top_p=read("top_p", number(0, 1)),
        presence_penalty=read("presence_penalty", number(-2, 2)),
        frequency_penalty=read("frequency_penalty", number(-2, 2)),
        seed=read("seed", whole(-MAX_INTEGER - 1, MAX_INTEGER)),
        stop=read("stop", _read_stop) or (),
        max_tokens=most if completion is None else completion,
        user=read("user", text(MAX_NAME_CHARS)),
        reasoning_effort=read("reasoning_effort", one_of(EFFORTS)),
    )


def _only(allowed: object, why: str) -> Any:
    def read(value: Any) -> Any:
        if type(value) is not type(allowed) or value != allowed:
            raise Wrong(why)
        return value

    return read


def _read_stop(value: Any) -> tuple[str, ...]:
    one = text(MAX_STOP_CHARS, least=1)
    return (one(value),) if isinstance(value, str) else tuple(one(found) for found in listed(value, MAX_STOPS))


def _read_messages(fields: Fields, value: Any) -> tuple[Message, ...]:
    found = [_read_message(fields, index, one) for index, one in enumerate(listed(value, MAX_MESSAGES, least=1))]
    messages = tuple(message for message in found if message is not None)
    if sum(len(message.images) for message in messages) > MAX_IMAGES:
        raise Wrong(f"have too many pictures, max {MAX_IMAGES}")
    return messages


def _read_message(fields: Fields, index: int, value: Any) -> Message | None:
    entry = fields.inner("messages", index, value)
    role = entry.read("role", one_of(ROLES), required=True)
    if role is None:
        return None
    calls = read_calls(entry) if role == "assistant" else ()
    parts = entry.read("content", lambda found: _read_content(entry, found, role), required=role != "assistant") or ()
    return Message(
        role=cast(Role, role),
        parts=parts,
        name=entry.read("name", text(MAX_NAME_CHARS)),
        tool_calls=calls,
        tool_call_id=entry.read("tool_call_id", text(256, least=1), required=True) if role == "tool" else None,
    )


def _read_content(entry: Fields, value: Any, role: str) -> tuple[TextPart | ImagePart, ...]:
    if isinstance(value, str):
        return (TextPart(value),)
    parts = (_read_part(entry, index, one, role) for index, one in enumerate(listed(value, MAX_PARTS)))
    return tuple(part for part in parts if part is not None)


def _read_part(entry: Fields, index: int, value: Any, role: str) -> TextPart | ImagePart | None:
    part = entry.inner("content", index, value)
    kind = part.data.get("type")
    if kind in ("text", "refusal"):
        words = part.read(str(kind), text(MAX_BODY_BYTES), required=True)
        return None if words is None else TextPart(words)
    if kind == "image_url" and role == "user":
        try:
            return read_picture(part)
        except Wrong as error:
            raise Wrong(f"[{index}].{error}") from None
    allowed = "text or image_url" if role == "user" else "text"
    raise Wrong(f"[{index}].type must be {allowed}")


def _chars_of(message: Message) -> int:
    words = sum(len(part.text) for part in message.parts if isinstance(part, TextPart))
    calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return words + len(message.name or "") + calls
