"""The official OpenAI clients through the gateway to `transformers serve`: a true server that nobody wrote here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from accounts.enums import Scope
from qwenstudio.embedded.ports import free_port
from qwenstudio.units.chatguard import ask
from tests.clients.byheart import learn_by_heart
from tests.clients.node import told_by_node
from tests.factories import Person, make_key
from tests.qwenstudio.fronts import ROOT, RunningFront, running_front

pytestmark = pytest.mark.timeout(600)
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def front(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    """The gateway before a server that runs as the unit `studio-chat` runs it."""
    folder = tmp_path_factory.mktemp("serve")
    model, port = folder / "model", str(free_port())
    learn_by_heart(model)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "qwenstudio.units.chatguard", port, str(model)],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until = time.monotonic() + 180
        while ask(port) != 200:
            assert server.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        with running_front(
            folder,
            target="tests.clients.chatfront:front",
            CHAT_UPSTREAM=f"http://127.0.0.1:{port}/v1",
            CHAT_MODEL=str(model),
            CHAT_SERVER="transformers",
        ) as found:
            yield found
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def secret(db: object, alice: Person, redis: object) -> str:
    return make_key(alice.tenant, alice.user, scopes=[Scope.CHAT.value])[1]


def test_python_chats_streams_and_calls(front: RunningFront, secret: str) -> None:
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=secret, max_retries=0)
    whole = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}])
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hello world", "stop")
    assert whole.model == "chat" and whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 12 < whole.usage.prompt_tokens  # a token for each byte
    short = client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=3)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("Hel", "length")

    chinese: Any = [{"role": "user", "content": "你好"}]
    chunks: list[Any] = list(
        client.chat.completions.create(
            model="chat", messages=chinese, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "你好，世界"
    assert chunks[-1].usage.total_tokens > chunks[-1].usage.completion_tokens > 0
    assert {chunk.model for chunk in chunks} == {"chat"}

    messages: list[Any] = [{"role": "user", "content": "weather"}]
    for stream in (False, True):
        if stream:
            with client.chat.completions.stream(model="chat", messages=messages, tools=TOOLS) as events:
                choice: Any = events.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(model="chat", messages=messages, tools=TOOLS).choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"in": "Bonn"})
    messages.append(choice.message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain in Bonn"})
    done = client.chat.completions.create(model="chat", messages=messages, tools=TOOLS)
    assert done.choices[0].message.content == "It says: rain in Bonn"


@pytest.mark.needs_openai_node
def test_node_does_the_same(front: RunningFront, secret: str) -> None:
    told = told_by_node(front.url, secret)
    assert told["whole"]["choices"][0]["message"]["content"] == told["words"] == "Hello world"
    assert told["usage"]["total_tokens"] == told["whole"]["usage"]["total_tokens"] > 12
    assert told["called"] == "It says: rain in Bonn"
    assert told["noModel"]["code"] == "model_not_found"
