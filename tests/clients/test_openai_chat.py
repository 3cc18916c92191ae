"""The official OpenAI clients, Python's and Node's, unchanged: chat through the real server to an upstream of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from accounts.enums import Scope
from tests.clients.node import told_by_node
from tests.factories import Person, make_key
from tests.generation.chat.scripted import DONE, HELLO, USAGE, Served, Wire, event, serving_in_thread
from tests.qwenstudio.fronts import RunningFront, running_front

pytestmark = pytest.mark.timeout(300)
HI: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"in": {"type": "string"}}}},
}


async def answer(wire: Wire) -> None:
    """By the last message: words, a call, a cut; after a tool's answer, that answer."""
    last = wire.asked.json["messages"][-1]
    if last["role"] == "tool":
        await wire.stream(event({"content": f"It says: {last['content']}"}, "stop"), event(None, usage=USAGE), DONE)
    elif last["content"] == "weather":
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        await wire.stream(
            event({"role": "assistant", "tool_calls": [call]}),
            event({"tool_calls": [{"index": 0, "function": {"arguments": '{"in": "Bonn"}'}}]}),
            event({}, "tool_calls"),
            DONE,
        )
    elif last["content"] == "break":
        await wire.stream(HELLO[1])
    else:
        await wire.stream(*HELLO)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving_in_thread(answer) as found:
        yield found


@pytest.fixture(scope="module")
def front(test_database: object, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    upstream = f"http://127.0.0.1:{served.port}/v1"
    with running_front(
        tmp_path_factory.mktemp("front"), target="tests.clients.chatfront:front", CHAT_UPSTREAM=upstream
    ) as found:
        yield found


@pytest.fixture
def secret(db: object, alice: Person, redis: object) -> str:
    return make_key(alice.tenant, alice.user, scopes=[Scope.CHAT.value])[1]


def test_python_chats(front: RunningFront, served: Served, secret: str) -> None:
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=secret, max_retries=0)
    raw = client.chat.completions.with_raw_response.create(**HI, temperature=0.2, extra_body={"api_base": "http://x"})
    whole = raw.parse()
    assert whole.choices[0].message.content == "Hello world" and whole.model == "chat"
    assert whole.usage is not None and whole.usage.total_tokens == 9
    assert raw.headers["x-ratelimit-remaining-requests"] == "29" and raw.request_id
    assert served.asked[-1].json.keys() == {
        "model", "messages", "stream", "stream_options", "temperature", "max_tokens"
    }  # fmt: skip
    chunks = list(client.chat.completions.create(**HI, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello world"
    assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens == 7
    with client.chat.completions.stream(**HI) as stream:
        assert stream.get_final_completion().choices[0].finish_reason == "stop"


def test_python_calls_tools(front: RunningFront, served: Served, secret: str) -> None:
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=secret, max_retries=0)
    messages: list[Any] = [{"role": "user", "content": "weather"}]
    for stream in (False, True):
        if stream:
            with client.chat.completions.stream(model="chat", messages=messages, tools=[TOOL]) as events:
                choice: Any = events.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(model="chat", messages=messages, tools=[TOOL]).choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls or []
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        assert json.loads(call.function.arguments) == {"in": "Bonn"} and call.function.name == "weather"
    assert served.asked[-1].json["tools"] == [TOOL]
    messages.append(choice.message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
    done = client.chat.completions.create(model="chat", messages=messages, tools=[TOOL])
    assert done.choices[0].message.content == "It says: rain"
    sent = served.asked[-1].json["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "c1"


def test_python_is_refused(front: RunningFront, served: Served, secret: str) -> None:
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=secret, max_retries=0)
    before = len(served.asked)
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(**{**HI, "model": "nobodys"})
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x" * 100_000}])
    assert "prompt too long, max 32768 chars" in long.value.message and long.value.param == "messages"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{front.url}/v1", api_key="sk-wrong").chat.completions.create(**HI)
    assert len(served.asked) == before
    with pytest.raises(openai.APIError) as broken:
        list(client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "break"}], stream=True))
    assert broken.value.code == "chat_broken"
    statuses = []
    for _ in range(31):
        try:
            client.chat.completions.create(**HI)
            statuses.append(200)
        except openai.RateLimitError as error:
            statuses.append(int(error.response.headers["retry-after"]) and 429)
    assert statuses.count(429) >= 1 and statuses[-1] == 429


@pytest.mark.needs_openai_node
def test_node_does_the_same(front: RunningFront, secret: str) -> None:
    told = told_by_node(front.url, secret)
    assert told["whole"]["choices"][0]["message"]["content"] == told["words"] == "Hello world"
    assert (told["usage"]["total_tokens"], told["limits"]) == (9, 6)
    assert told["called"] == "It says: rain in Bonn"
    assert (told["broken"]["name"], told["broken"]["code"]) == ("APIError", "chat_broken")
    assert (told["noModel"]["name"], told["noModel"]["code"]) == ("NotFoundError", "model_not_found")
    assert told["tooLong"] == {
        "name": "BadRequestError", "status": 400, "code": "invalid_request", "param": "messages"
    }  # fmt: skip
