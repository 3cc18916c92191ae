"""Whether an upstream is well, and which models it has."""

from __future__ import annotations

from typing import Any

import pytest

from generation.chat.asking import NotWell, check_health, list_models
from generation.chat.targets import Kind
from tests.generation.chat.scripted import Wire, reset, serving

ANSWERS: dict[str, Any] = {
    "/health": {"status": "ok"},
    "/v1/models": {"object": "list", "data": [{"id": "qwen"}]},
    "/api/version": {"version": "0.12"},
    "/api/tags": {"models": [{"name": "qwen3:32b"}]},
    "/alive": {},
}


async def answer(wire: Wire) -> None:
    body = ANSWERS.get(wire.asked.path)
    await wire.answer(200 if body is not None else 404, body or {})


@pytest.mark.parametrize(
    ("kind", "path", "model"), [("openai", "/v1/models", "qwen"), ("ollama", "/api/tags", "qwen3:32b")]
)
async def test_a_well_one(kind: Kind, path: str, model: str) -> None:
    async with serving(answer) as served:
        upstream = served.upstream(kind, credential="secret")
        await check_health(upstream)
        assert await list_models(upstream) == [model]
        assert served.asked[1].path == path and served.asked[1].method == "GET"
        assert served.asked[1].headers["authorization"] == "Bearer secret"
        await check_health(served.upstream(kind, health_path="/alive"))
        assert served.asked[-1].path == "/alive"


async def test_one_that_is_not_well() -> None:
    async with serving(reset) as served:
        with pytest.raises(NotWell, match="ended before an answer"):
            await check_health(served.upstream())
    with pytest.raises(NotWell):
        await check_health(served.upstream())
    async with serving(lambda wire: wire.answer(500, {})) as served:
        with pytest.raises(NotWell, match="answers 500"):
            await list_models(served.upstream())
    async with serving(lambda wire: wire.answer(200, b"<html>")) as served:
        with pytest.raises(NotWell, match="no JSON"):
            await list_models(served.upstream())
