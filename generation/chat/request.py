"""What a chat request says: OpenAI's fields that the studio takes, frozen. `reader.py` makes them from bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from generation.chat.tasks import ChatTask

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words of a message."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """A picture of a message, as the base64 that came in its data URL."""

    media_type: str  # image/png, image/jpeg, image/webp
    base64: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model has made earlier; `arguments` is JSON as text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. A `tool` message answers the call that `tool_call_id` names."""

    role: Role
    parts: tuple[TextPart | ImagePart, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """All words, its text parts joined by line breaks."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The pictures."""
        return tuple(part for part in self.parts if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON Schema that refers to nothing outside of itself."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """How the answer must look. `json_schema` has a name and a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request. `None` means that nothing was said.

    `tool_choice` is `none`, `auto`, `required` or `=` and the name of a tool; `max_tokens` is OpenAI's
    `max_completion_tokens`, or `max_tokens` where only that was sent.
    """

    model: str
    messages: tuple[Message, ...]
    prompt_chars: int
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    include_usage: bool = False
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    user: str | None = None
    reasoning_effort: Effort | None = None

    @property
    def forced_tool(self) -> str | None:
        """The one tool that must be called, where the request names one."""
        return self.tool_choice[1:] if self.tool_choice and self.tool_choice.startswith("=") else None


SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "max_tokens", "reasoning_effort")


def with_defaults(request: ChatRequest, defaults: Mapping[str, Any], *, max_tokens: int) -> ChatRequest:
    """The request with a model's own sampling where it says nothing, and with no more tokens than the model gives.

    `defaults` holds values of `SAMPLING` (other names are passed over).
    """
    values = {
        name: defaults[name] for name in SAMPLING if defaults.get(name) is not None and getattr(request, name) is None
    }
    wanted = request.max_tokens if request.max_tokens is not None else values.get("max_tokens", max_tokens)
    return replace(request, **{**values, "max_tokens": min(wanted, max_tokens)})


def with_system(request: ChatRequest, text: str) -> ChatRequest:
    """The request with a system prompt before it, unless it brings one or there is none to add."""
    if not text or any(message.role in ("system", "developer") for message in request.messages):
        return request
    system = Message(role="system", parts=(TextPart(text),))
    return replace(request, messages=(system, *request.messages))


def with_task(request: ChatRequest, task: ChatTask, *, sampling: Mapping[str, Any], max_tokens: int) -> ChatRequest:
    """The request as an upstream gets it: what it leaves open is the model's, and then the release's (`tasks.py`)."""
    request = with_defaults(request, {**task.sampling, **sampling}, max_tokens=max_tokens)
    return with_system(request, task.system)
