"""Ten thousand bodies with fields that nobody allows, at every depth: none of them is in what an upstream is sent."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from accounts.errors import StudioError
from generation.chat.reader import read_chat
from generation.chat.targets import Kind, Target, Upstream
from generation.chat.upstreams import DIALECTS

BODIES = 10_000
MARK = "planted"  # in the value of every field that was planted
# Fields that have steered upstreams past gateways, and some that merely look like it.
PLANTED = [
    "api_base",
    "base_url",
    "api_key",
    "chat_template",
    "chat_template_kwargs",
    "extra_body",
    "extra_headers",
    "generation_config",
    "guided_regex",
    "headers",
    "keep_alive",
    "lora_request",
    "metadata",
    "mm_processor_kwargs",
    "options",
    "raw",
    "stop_token_ids",
    "template",
    "vllm_xargs",
    "__proto__",
    "Model",
    "model ",
    "x" * 50,
]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in": "Bonn"}'}}
GOOD: dict[str, Any] = {
    "model": "chat",
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 1,
    "stop": ["x"],
    "max_tokens": 5,
    "user": "u",
    "reasoning_effort": "low",
}
# In a schema every name may be a property's: it is data. Its references are looked at elsewhere.
SCHEMAS = ("parameters", "schema")
UPSTREAM_KEYS = {
    "openai": {
        "model", "messages", "role", "content", "type", "text", "tool_calls", "id", "function", "name", "arguments",
        "tool_call_id", "tools", "parameters", "tool_choice", "response_format", "json_schema", "schema", "stream",
        "stream_options", "include_usage", "temperature", "top_p", "seed", "stop", "max_tokens", "user",
        "reasoning_effort", "parallel_tool_calls", "presence_penalty", "frequency_penalty", "image_url", "url",
        "detail", "description", "strict",
    },
    "ollama": {
        "model", "messages", "role", "content", "images", "tool_calls", "function", "name", "arguments", "tool_name",
        "tools", "type", "parameters", "description", "format", "stream", "think", "options", "temperature", "top_p",
        "seed", "num_predict", "stop", "presence_penalty", "frequency_penalty", "num_ctx", "in", "properties",
    },
}  # fmt: skip


def objects(value: Any, *, inside: bool = False) -> list[dict[str, Any]]:
    """Every object of a body, those of schemas left out."""
    if isinstance(value, dict):
        found = [] if inside else [value]
        for name, child in value.items():
            found += objects(child, inside=inside or name in SCHEMAS)
        return found
    return [one for child in value for one in objects(child, inside=inside)] if isinstance(value, list) else []


def spoil(chance: random.Random) -> bytes:
    """A body with planted fields, and now and then a value of another kind."""
    body = copy.deepcopy(GOOD)
    for _ in range(chance.randint(1, 4)):
        place = chance.choice(objects(body))
        name = chance.choice(PLANTED)
        if name in place:
            continue
        value: Any = chance.choice([MARK, {MARK: MARK}, [MARK], {"a": [{"b": MARK}]}, f"http://{MARK}/"])
        place[name] = value
    if chance.random() < 0.3:
        place = chance.choice(objects(body))
        name = chance.choice(list(place))
        place[name] = chance.choice([None, True, 5, -1, 1e300, "x", [], {}, [MARK], {MARK: 1}, MARK * 3])
    if chance.random() < 0.1:
        for _ in range(chance.randint(1, 3)):
            body.pop(chance.choice(list(body)), None)
    return json.dumps(body).encode()


def names_in(value: Any, *, inside: bool = False) -> set[str]:
    """Every field's name, those of schemas left out."""
    if isinstance(value, dict):
        found = set() if inside else set(value)
        for name, child in value.items():
            found |= names_in(child, inside=inside or name in (*SCHEMAS, "format"))
        return found
    return {name for child in value for name in names_in(child, inside=inside)} if isinstance(value, list) else set()


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_nothing_outside_of_the_allow_list_is_sent(kind: Kind) -> None:
    chance = random.Random(11)
    target = Target(upstream=Upstream(id="u", kind=kind, base_url="http://127.0.0.1:1"), model="theirs")
    read = 0
    for _ in range(BODIES // 2):
        body = spoil(chance)
        try:
            call = DIALECTS[kind].build(read_chat(body), target)
        except StudioError as error:
            error.message.encode()
            continue
        read += 1
        sent = json.loads(call.body)
        assert names_in(sent) <= UPSTREAM_KEYS[kind], names_in(sent) - UPSTREAM_KEYS[kind]
        assert sent["model"] == "theirs" and sent["stream"] is True
        options = {**sent.get("options", {}), "stop": None}  # a client's own words, like its messages
        said = json.dumps([options, *(sent.get(name) for name in ("stream_options", "think", "tool_choice"))])
        assert MARK not in said, said
        assert all(MARK not in f"{name}{value}" for name, value in call.headers) and MARK not in call.path
    assert read > BODIES / 2 * 0.6  # most are taken: what was planted is passed over


def test_noise_never_raises_anything_else() -> None:
    chance = random.Random(13)
    whole = json.dumps(GOOD).encode()
    for _ in range(3000):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(body))
            body[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        try:
            read_chat(bytes(body))
        except StudioError as error:
            error.message.encode()
