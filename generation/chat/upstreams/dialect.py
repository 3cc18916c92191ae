"""What every kind of upstream has: a request to send, and a reader of the stream that comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from generation.chat.deltas import Delta
from generation.chat.request import ChatRequest
from generation.chat.targets import Target, Upstream

_QUOTED = re.compile(r"[\"'`{\[<=].*", re.DOTALL)


class AnswerError(Exception):
    """What an upstream answers cannot be read, or is an error of its own in the middle of the stream.

    Its message goes to the log, so nothing of the answer is in it.
    """


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an upstream."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


class Reader(Protocol):
    """Reads one answer. `done` says that nothing more is to come."""

    done: bool

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that these bytes complete. Raises `AnswerError`."""
        ...

    def end(self) -> list[Delta]:
        """What is left at the end of the body. Raises `AnswerError` where the answer was not complete."""
        ...


class Dialect(Protocol):
    """A kind of upstream."""

    models_path: str  # GET: the models it has

    def health_path(self, upstream: Upstream) -> str:
        """GET: whether it is well."""
        ...

    def build(self, request: ChatRequest, target: Target) -> Call:
        """The request that asks for an answer, from the allow-list alone. Raises `InvalidRequest`."""
        ...

    def reader(self, media_type: str) -> Reader:
        """A reader for an answer of this media type."""
        ...

    def read_models(self, body: bytes) -> list[str]:
        """The names in an answer of `models_path`. Raises `AnswerError`."""
        ...

    def read_error(self, body: bytes) -> str:
        """The message in the body of a refusal; empty where there is none."""
        ...


def headers_of(upstream: Upstream) -> tuple[tuple[str, str], ...]:
    """The headers that an upstream gets: none of the client's are among them."""
    headers = (("Content-Type", "application/json"), ("Accept", "text/event-stream, application/json"))
    return (*headers, ("Authorization", f"Bearer {upstream.credential}")) if upstream.credential else headers


def parse_object(line: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises `AnswerError`."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise AnswerError(f"no JSON ({len(line)} bytes)") from None
    if not isinstance(value, dict):
        raise AnswerError(f"no JSON object ({len(line)} bytes)")
    return value


def text_in(data: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds text; empty where none does. Raises `AnswerError` for other kinds."""
    for name in names:
        value = data.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise AnswerError(f"{name} is no text")
        if value:
            return value
    return ""


def arguments_in(value: Any) -> str:
    """The arguments of a call as text, where a server gives the object itself. Raises `AnswerError`."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # what is nested deeper than 254 levels is read, but not written
        raise AnswerError("the arguments of a tool call are nested too deep") from None


def failure_in(message: str) -> AnswerError:
    """An error that a server tells, as far as it quotes nothing: that may be words of the answer."""
    return AnswerError(f"the server says: {_QUOTED.sub('…', message)[:200]}")


def count_in(data: Mapping[str, Any], name: str) -> int:
    """A count; 0 where there is none that can be believed."""
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0
