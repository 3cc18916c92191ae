"""The official OpenAI clients, unchanged, through the gateway to a server that speaks Ollama's own protocol.

What it is asked is held against Ollama's published schemas, and its answers are made as they say: ollama/ollama,
docs/openapi.yaml (commit 017eb8ae4895: ChatRequest, ChatStreamEvent) and docs/api.md (commit 9fbfa74219fa), read on
2026-11-26.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from accounts.enums import Scope
from tests.clients.node import told_by_node
from tests.clients.test_openai_chat import HI, TOOL
from tests.factories import Person, make_key
from tests.generation.chat.scripted import Served, Wire, serving_in_thread
from tests.generation.chat.test_ollama_upstream import MESSAGE, MORE_OPTIONS, OPTIONS, REQUEST
from tests.qwenstudio.fronts import RunningFront, running_front

pytestmark = pytest.mark.timeout(300)
COUNTS = {
    "total_duration": 5_000_000,
    "load_duration": 1_000_000,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 1_000_000,
    "eval_count": 2,
    "eval_duration": 3_000_000,
}


def said(done_reason: str = "", **message: Any) -> bytes:
    """A ChatStreamEvent; the last one has a reason and the counts."""
    found = {"model": "theirs", "created_at": "2026-11-26T10:00:00.000000Z"}
    found |= {"message": {"role": "assistant", "content": "", **message}, "done": bool(done_reason)}
    return json.dumps(found | ({"done_reason": done_reason, **COUNTS} if done_reason else {})).encode() + b"\n"


async def answer(wire: Wire) -> None:
    """By the last message: words, a call, a cut; after a tool's answer, that answer."""
    assert (wire.asked.method, wire.asked.path) == ("POST", "/api/chat")
    last = wire.asked.json["messages"][-1]
    lines = [said(content="Hello"), said(content=" world"), said("stop")]
    if last["role"] == "tool":
        assert last["tool_name"] == "weather"
        lines = [said(content=f"It says: {last['content']}"), said("stop")]
    elif last["content"] == "weather":
        call = {"function": {"name": "weather", "arguments": {"in": "Bonn"}}}
        lines = [said(tool_calls=[call]), said("stop")]
    elif last["content"] == "break":
        lines = [said(content="Hel")]
    await wire.head(media_type="application/x-ndjson")
    for line in lines:
        await wire.chunk(line)
    if last["content"] == "break":
        raise ConnectionError
    await wire.chunk(b"")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving_in_thread(answer) as found:
        yield found
        for asked in found.asked:
            assert asked.json.keys() <= REQUEST and asked.json["stream"] is True
            assert asked.json["options"].keys() <= OPTIONS | MORE_OPTIONS
            assert all(message.keys() <= MESSAGE for message in asked.json["messages"])


@pytest.fixture(scope="module")
def front(test_database: object, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    with running_front(
        tmp_path_factory.mktemp("front"),
        target="tests.clients.chatfront:front",
        CHAT_UPSTREAM=f"http://127.0.0.1:{served.port}",
        CHAT_KIND="ollama",
    ) as found:
        yield found


@pytest.fixture
def secret(db: object, alice: Person, redis: object) -> str:
    return make_key(alice.tenant, alice.user, scopes=[Scope.CHAT.value])[1]


def test_python_chats_and_calls_tools(front: RunningFront, served: Served, secret: str) -> None:
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=secret, max_retries=0)
    whole = client.chat.completions.create(**HI, temperature=0.2, stop=["END"], seed=4)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hello world", "stop")
    assert whole.model == "chat" and whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (7, 2)
    options = served.asked[-1].json["options"]
    assert options.pop("num_predict") > 0 and options == {"temperature": 0.2, "stop": ["END"], "seed": 4}
    chunks = list(client.chat.completions.create(**HI, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello world"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 9

    messages: list[Any] = [{"role": "user", "content": "weather"}]
    with client.chat.completions.stream(model="chat", messages=messages, tools=[TOOL]) as events:
        choice: Any = events.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert served.asked[-1].json["tools"][0]["function"]["name"] == "weather"
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"in": "Bonn"})
    messages.append(choice.message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
    done = client.chat.completions.create(model="chat", messages=messages, tools=[TOOL])
    assert done.choices[0].message.content == "It says: rain"
    assert served.asked[-1].json["messages"][1]["tool_calls"] == [
        {"function": {"name": "weather", "arguments": {"in": "Bonn"}}}
    ]


@pytest.mark.needs_openai_node
def test_node_does_the_same(front: RunningFront, secret: str) -> None:
    told = told_by_node(front.url, secret)
    assert told["whole"]["choices"][0]["message"]["content"] == told["words"] == "Hello world"
    assert told["usage"]["total_tokens"] == 9 and told["called"] == "It says: rain in Bonn"
    assert (told["broken"]["name"], told["broken"]["code"]) == ("APIError", "chat_broken")
