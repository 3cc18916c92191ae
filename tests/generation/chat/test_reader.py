"""Bodies of POST /v1/chat/completions: what is taken, what is refused and in which words."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from accounts.errors import InvalidRequest, StudioError
from generation.chat.reader import MAX_BODY_BYTES, MAX_PROMPT_CHARS, read_chat
from generation.chat.request import ChatRequest, ImagePart, ResponseFormat, TextPart, Tool, ToolCall, with_defaults
from generation.errors import BodyUnreadable

HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "of a place", "parameters": {"type": "object"}, "strict": True},
}


def read(messages: Any = None, **fields: Any) -> ChatRequest:
    body = {"model": "chat", "messages": HI if messages is None else messages, **fields}
    return read_chat(json.dumps(body).encode())


def refusal(messages: Any = None, **fields: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidRequest) as caught:
        read(messages, **fields)
    return caught.value.fields


def data_url(form: str = "PNG", size: tuple[int, int] = (3, 2)) -> str:
    file = BytesIO()
    Image.new("RGB", size).save(file, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def test_every_field_is_read() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "string"}}}
    found = read(
        [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "name": "al", "content": [{"type": "text", "text": "see"}, picture(data_url("WEBP"))]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"in": "Bonn"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.5,
        top_p=0.9,
        presence_penalty=-1,
        frequency_penalty=2,
        seed=-5,
        stop=["a", "b"],
        max_tokens=7,
        max_completion_tokens=9,
        n=1,
        logprobs=False,
        user="u",
        reasoning_effort="low",
    )
    developer, user, assistant, tool = found.messages
    assert developer.role == "developer" and developer.parts == (TextPart("be kind"),)
    assert user.name == "al" and isinstance(user.parts[1], ImagePart) and user.parts[1].media_type == "image/webp"
    assert assistant.tool_calls == (ToolCall(id="c1", name="weather", arguments='{"in": "Bonn"}'),)
    assert tool.tool_call_id == "c1" and tool.text == "rain"
    assert found.tools == (Tool(name="weather", description="of a place", parameters={"type": "object"}, strict=True),)
    assert found.forced_tool == "weather" and found.parallel_tool_calls is False
    assert found.response_format == ResponseFormat(type="json_schema", name="x", schema=schema, strict=True)
    assert (found.stream, found.include_usage, found.seed, found.stop) == (True, True, -5, ("a", "b"))
    assert (found.temperature, found.top_p, found.presence_penalty, found.frequency_penalty) == (0.5, 0.9, -1, 2)
    assert (found.max_tokens, found.user, found.reasoning_effort) == (9, "u", "low")


def picture(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def test_what_nobody_said_is_none() -> None:
    found = read(temperature=None, tools=None, unknown={"api_base": "http://x"})
    assert found.temperature is None and found.tools == () and not found.stream
    assert "api_base" not in repr(found)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "malformed JSON"),
        (b"\xff", "UTF-8"),
        (b"", "malformed JSON"),
        (b'{"model": "a", "model": "b"}', "'model' occurs twice"),
        (b'{"messages": [{"role": 1, "role": 2}]}', "messages[0]: the field 'role' occurs twice"),
        (b'{"temperature": NaN}', "temperature: NaN"),
        (b'{"a": {"b": [-Infinity]}}', "a.b[0]: -Infinity"),
        (b'{"temperature": 1e999}', "too large"),
        (b'{"seed": 9223372036854775808}', "seed: the number 9223372036854775808 does not fit into 64 bits"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "does not fit into 64 bits"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32 levels"),
        (b"[" * 100_000, "deeper than 32 levels"),
        (b'{"model": "a\\u0000b"}', "model: text must not hold NUL"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b'{"messages": [{"content": "\\ud800"}]}', "messages[0].content: text must not hold lone surrogates"),
    ],
)
def test_unreadable_bodies(body: bytes, words: str) -> None:
    with pytest.raises(BodyUnreadable) as caught:
        read_chat(body)
    assert words in caught.value.message
    caught.value.message.encode()  # an answer can hold it


def test_thirty_two_levels_are_read() -> None:
    body = b'{"model": "chat", "messages": [{"role": "user", "content": "hi"}], "x": ' + b"[" * 31 + b"]" * 31 + b"}"
    assert read_chat(body).model == "chat"


def test_long_names_with_many_children_are_no_work() -> None:
    body = json.dumps({"x" * 300_000: {"y" * 300_000: [1] * 100_000}, "model": "chat", "messages": HI}).encode()
    assert read_chat(body).model == "chat"  # copying the name for each would be 60 GB


def test_the_body_has_a_size() -> None:
    with pytest.raises(InvalidRequest, match="max 1048576"):
        read_chat(b" " * (MAX_BODY_BYTES + 1))


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
def test_the_body_is_an_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        read_chat(body)


def test_the_prompt_has_a_length() -> None:
    assert read([{"role": "user", "content": "x" * MAX_PROMPT_CHARS}]).prompt_chars == MAX_PROMPT_CHARS
    halves = [{"type": "text", "text": "好" * (MAX_PROMPT_CHARS // 2)}, {"type": "text", "text": "x" * 20_000}]
    assert refusal([{"role": "user", "content": halves}]) == {"messages": ["prompt too long, max 32768 chars"]}
    assert refusal([{"role": "user", "content": "x" * 100_000}]) == {"messages": ["prompt too long, max 32768 chars"]}


def test_tools_and_schemas_count_for_the_prompt() -> None:
    wordy = {"type": "function", "function": {"name": "a", "parameters": {"description": "x" * 40_000}}}
    assert refusal(tools=[wordy]) == {"messages": ["prompt too long, max 32768 chars"]}
    calls = [{"id": str(n), "type": "function", "function": {"name": "a", "arguments": "x" * 20_000}} for n in range(2)]
    assert refusal([*HI, {"role": "assistant", "tool_calls": calls}]) == {
        "messages": ["prompt too long, max 32768 chars"]
    }


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"model": ""}, "model", "1 to 512"),
        ({"model": 3}, "model", "must be text"),
        ({"messages": []}, "messages", "1 to 1000 entries, has 0"),
        ({"messages": {}}, "messages", "must be a list"),
        ({"messages": [1]}, "messages", "[0] must be an object"),
        ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role", "one of system, developer, user"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is required"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "is required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content",
            "text or image_url",
        ),
        ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}]}, "messages[0].content", "must be text"),
        ({"temperature": 2.1}, "temperature", "from 0 to 2"),
        ({"temperature": True}, "temperature", "must be a number"),
        ({"top_p": -0.1}, "top_p", "from 0 to 1"),
        ({"presence_penalty": 3}, "presence_penalty", "from -2 to 2"),
        ({"seed": 1.5}, "seed", "whole number"),
        ({"stop": ["a"] * 5}, "stop", "0 to 4 entries, has 5"),
        ({"stop": ""}, "stop", "1 to 256"),
        ({"max_tokens": 0}, "max_tokens", "from 1 to"),
        ({"n": 2}, "n", "must be 1"),
        ({"n": True}, "n", "must be 1"),
        ({"logprobs": True}, "logprobs", "not offered"),
        ({"top_logprobs": 3}, "top_logprobs", "not offered"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true or false"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type", "one of function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "1 to 64"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "two tools of one name"),
        ({"tools": [WEATHER] * 129}, "tools", "has 129"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "one of the tools"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "one of text"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "is required"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort", "one of none"),
        ({"user": "x" * 513}, "user", "0 to 512"),
    ],
)
def test_wrong_values_name_the_field_and_the_bound(fields: dict[str, Any], where: str, words: str) -> None:
    found = refusal(**fields)
    assert where in found and words in " ".join(found[where]), found


def test_all_wrong_fields_are_named_but_not_endlessly() -> None:
    assert refusal(seed="x", user=1).keys() == {"seed", "user"}
    assert len(refusal([{"role": "x"}] * 500)) == 20


@pytest.mark.parametrize(
    "reference", ["http://169.254.169.254/latest", "file:///etc/passwd", "other.json#/a", "//host/x"]
)
def test_schemas_refer_to_themselves_alone(reference: str) -> None:
    tool = {"type": "function", "function": {"name": "a", "parameters": {"anyOf": [{"$ref": reference}]}}}
    assert "must begin with #" in refusal(tools=[tool])["tools[0].function.parameters"][0]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/x.png", "must be a data URL"),
        ("https://example.org/x.png", "must be a data URL"),
        ("file:///etc/passwd", "must be a data URL"),
        ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "must be a data URL"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "must be a data URL"),
        ("data:image/png;base64,!!!!", "not base64"),
        ("data:image/png;base64,aGVsbG8=", "is no PNG picture"),
        (data_url("JPEG").replace("image/jpeg", "image/png"), "is no PNG picture"),
        (data_url("PNG", (8192, 4097)), "max 33554432"),
        (7, "must be text"),
    ],
)
def test_pictures_come_with_the_request(url: Any, words: str) -> None:
    found = refusal([{"role": "user", "content": [picture(url)]}])
    assert words in found["messages[0].content"][0], found


def test_pictures_are_counted() -> None:
    content = [picture(data_url())] * 17
    assert "max 16" in refusal([{"role": "user", "content": content}])["messages"][0]


def test_a_models_own_sampling_fills_what_was_left_open() -> None:
    asked = with_defaults(read(temperature=0), {"temperature": 0.7, "top_p": 0.8, "junk": 1}, max_tokens=100)
    assert (asked.temperature, asked.top_p, asked.max_tokens) == (0, 0.8, 100)
    assert with_defaults(read(max_tokens=7), {}, max_tokens=100).max_tokens == 7
    assert with_defaults(read(max_tokens=700), {}, max_tokens=100).max_tokens == 100
    assert with_defaults(read(), {"max_tokens": 50}, max_tokens=100).max_tokens == 50


def test_refusals_are_the_studios() -> None:
    assert issubclass(BodyUnreadable, StudioError) and BodyUnreadable.code == "malformed_json"
