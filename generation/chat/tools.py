"""Tools, the choice among them, and the form of the answer: the parts of a body that carry JSON Schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from generation.chat.fields import Fields, Wrong, flag, listed, one_of, text
from generation.chat.request import ResponseFormat, Tool, ToolCall

MAX_TOOLS = 128
MAX_DESCRIPTION = 4096
MAX_ARGUMENTS = 32_768
FORMATS = ("text", "json_object", "json_schema")
CHOICES = ("none", "auto", "required")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def tool_name(value: Any) -> str:
    """A function's name."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Wrong("must have 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
    return value


def schema(value: Any) -> Mapping[str, Any]:
    """A JSON Schema. One that refers to something outside of itself is refused: an upstream might fetch it."""
    if not isinstance(value, Mapping):
        raise Wrong("must be an object (a JSON Schema)")
    _check_references(value)
    return value


def _check_references(value: Any) -> None:
    if isinstance(value, Mapping):
        for name, child in value.items():
            if name in _REFERENCES and isinstance(child, str) and not child.startswith("#"):
                raise Wrong(f"{name} must begin with #: a schema may refer to itself alone")
            _check_references(child)
    elif isinstance(value, list):
        for child in value:
            _check_references(child)


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """`tools`, each a function with a name of its own."""

    def read(value: Any) -> tuple[Tool, ...]:
        found = tuple(
            tool for index, one in enumerate(listed(value, MAX_TOOLS)) if (tool := _read_tool(fields, index, one))
        )
        names = [tool.name for tool in found]
        if len(set(names)) != len(names):
            raise Wrong("has two tools of one name")
        return found

    return fields.read("tools", read) or ()


def _read_tool(fields: Fields, index: int, value: Any) -> Tool | None:
    entry = fields.inner("tools", index, value)
    if entry.read("type", one_of(("function",)), required=True) is None:
        return None
    function = entry.read("function", lambda found: entry.inner("function", None, found), required=True)
    if function is None:
        return None
    name = function.read("name", tool_name, required=True)
    tool = Tool(
        name=name or "",
        description=function.read("description", text(MAX_DESCRIPTION)),
        parameters=function.read("parameters", schema),
        strict=function.read("strict", flag),
    )
    return tool if name else None


def read_choice(fields: Fields, tools: Sequence[Tool]) -> str | None:
    """`tool_choice`: a word, or `=` and the name of one of the tools."""

    def read(value: Any) -> str:
        if isinstance(value, str):
            word = one_of(CHOICES)(value)
            if word == "required" and not tools:
                raise Wrong("required needs tools")
            return word
        inner = fields.inner("tool_choice", None, value)
        function = inner.data.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if inner.data.get("type") != "function" or name not in [tool.name for tool in tools]:
            words = ", ".join(CHOICES)
            raise Wrong(f"must be one of {words}, or a function by the name of one of the tools")
        return f"={name}"

    found: str | None = fields.read("tool_choice", read)
    return found


def read_calls(fields: Fields) -> tuple[ToolCall, ...]:
    """`tool_calls` of an assistant's message."""

    def read(value: Any) -> tuple[ToolCall, ...]:
        return tuple(
            call for index, one in enumerate(listed(value, MAX_TOOLS)) if (call := _read_call(fields, index, one))
        )

    return fields.read("tool_calls", read) or ()


def _read_call(fields: Fields, index: int, value: Any) -> ToolCall | None:
    entry = fields.inner("tool_calls", index, value)
    if entry.read("type", one_of(("function",))) is None and "type" in entry.data:
        return None
    call_id = entry.read("id", text(256, least=1), required=True)
    function = entry.read("function", lambda found: entry.inner("function", None, found), required=True)
    if function is None:
        return None
    name = function.read("name", tool_name, required=True)
    arguments = function.read("arguments", text(MAX_ARGUMENTS), required=True)
    if call_id is None or name is None or arguments is None:
        return None
    return ToolCall(id=call_id, name=name, arguments=arguments)


def read_format(fields: Fields) -> ResponseFormat | None:
    """`response_format`."""

    def read(value: Any) -> ResponseFormat | None:
        inner = fields.inner("response_format", None, value)
        kind = inner.read("type", one_of(FORMATS), required=True)
        if kind != "json_schema":
            return ResponseFormat(type=kind) if kind else None
        wanted = inner.read("json_schema", lambda found: inner.inner("json_schema", None, found), required=True)
        if wanted is None:
            return None
        return ResponseFormat(
            type="json_schema",
            name=wanted.read("name", tool_name, required=True) or "",
            description=wanted.read("description", text(MAX_DESCRIPTION)),
            schema=wanted.read("schema", schema, required=True),
            strict=wanted.read("strict", flag),
        )

    found: ResponseFormat | None = fields.read("response_format", read)
    return found


def schema_chars(*schemas: Mapping[str, Any] | None) -> int:
    """Characters of these schemas as JSON: they are part of the prompt."""
    return sum(len(json.dumps(one, ensure_ascii=False)) for one in schemas if one is not None)
