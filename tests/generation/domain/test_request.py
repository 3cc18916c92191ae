"""Strict reading: every wrong value is named with its bound."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.errors import InvalidRequest
from generation.domain.request import GenerationRequest, hash_request, parse_request
from generation.domain.resolve import guess_bucket
from generation.engine.catalog import ModelSpec
from generation.engine.request import TASKS
from generation.enums import Task

GOOD: dict[str, Any] = {"model": "demo", "prompt": "a red circle"}


def test_everything_that_may_be_said() -> None:
    request = parse_request(
        {
            **GOOD, "negative_prompt": "blur", "width": 64, "height": 128, "num_inference_steps": 4,
            "true_cfg_scale": 2, "seed": 2**63 - 1, "n": 10, "loras": [{"name": "x"}], "output_format": "webp",
            "metadata": {"a": [1]},
            "webhook": "01890a5d-ac96-774b-bcce-b302099a8057",
        }
    )  # fmt: skip
    assert (request.height, request.true_cfg_scale, request.loras[0].scale, request.n) == (128, 2.0, None, 10)


def test_defaults_and_nulls() -> None:
    nulls = dict.fromkeys(("width", "height", "num_inference_steps", "true_cfg_scale", "seed", "webhook"))
    assert parse_request({**GOOD, **nulls}) == GenerationRequest(**GOOD)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("wdth", 1, "unknown field"),
        ("prompt", "", "empty"),
        ("prompt", " \n", "empty"),
        ("prompt", "a" * 32769, "prompt too long, max 32768 chars"),
        ("prompt", "a\x00b", "NUL"),
        ("prompt", "a\ud800", "surrogate"),
        ("prompt", 7, "must be text, got a number"),
        ("prompt", None, "must be text, got null"),
        ("model", "", "empty"),
        ("width", 100, "multiple of 16"),
        ("width", 0, "16 to 4096"),
        ("width", 4112, "16 to 4096"),
        ("width", "64", "whole number, got text"),
        ("width", 64.0, "whole number"),
        ("height", True, "got true or false"),
        ("num_inference_steps", 0, "1 to 100"),
        ("num_inference_steps", 101, "1 to 100"),
        ("seed", -1, "0 to"),
        ("seed", 2**63, "0 to"),
        ("seed", 10**400, "far larger"),
        ("n", 0, "1 to 10"),
        ("n", 11, "1 to 10"),
        ("true_cfg_scale", float("nan"), "finite"),
        ("true_cfg_scale", float("inf"), "finite"),
        ("true_cfg_scale", 31, "0 to 30"),
        ("true_cfg_scale", "2", "must be a number"),
        ("loras", {}, "list"),
        ("loras", [{"name": "a", "scale": 3}], "-2 to 2"),
        ("loras", [{"name": "a"}, {"name": "a"}], "twice"),
        ("loras", [{"nam": "a"}], "{name, scale}"),
        ("loras", [{"name": str(i)} for i in range(5)], "max 4"),
        ("output_format", "gif", "png, jpeg, webp"),
        ("output_format", ["png"], "one of"),
        ("metadata", [], "object"),
        ("metadata", {"a": "b" * 5000}, "max 4096"),
        ("metadata", {"a": float("nan")}, "NaN"),
        ("metadata", {"a": "\x00"}, "NUL"),
        ("metadata", {"a": "\ud800"}, "surrogate"),
        ("webhook", "x", "UUID"),
    ],
)
def test_each_wrong_value(field: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({**GOOD, field: value})
    assert says in refused.value.fields[field][0]
    refused.value.message.encode()


def test_all_wrong_values_at_once_and_missing_ones() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"n": 0, "seed": "x", "\ud800": 1})
    assert {"n", "seed", "model", "prompt"} <= set(refused.value.fields) and len(refused.value.fields) == 5


def test_the_same_request_has_the_same_hash() -> None:
    one = GenerationRequest(**GOOD, metadata={"a": 1, "b": 2})
    assert hash_request(one) == hash_request(GenerationRequest(**GOOD, metadata={"b": 2, "a": 1}))
    assert hash_request(one) != hash_request(GenerationRequest(**GOOD))


def test_likely_buckets() -> None:
    spec = ModelSpec.from_table("m", {"family": "qwen-image", "path": "x"})
    assert guess_bucket("short", spec) == 64
    assert guess_bucket("a" * 400, spec) == 256
    assert guess_bucket("a" * 30_000, spec) == 512


def test_the_engine_and_the_rows_name_the_same_tasks() -> None:
    assert set(Task.values) == set(TASKS)
