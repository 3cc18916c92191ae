"""Rows check themselves: every refusal names the field and its bound."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from generation.engine.request import LoraUse, PassRow, length_bucket

GOOD = PassRow(key="a", prompt="a red circle", width=64, height=64, num_inference_steps=4, seed=0)
LORA = LoraUse(path="style.safetensors", sha256="a" * 64, scale=0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": ""}, "key is empty"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": "x" * 32_769}, "prompt too long, max 32768 chars"),
        ({"prompt": "a\x00b"}, "prompt holds a NUL"),
        ({"prompt": "a\ud800"}, "prompt holds a lone surrogate"),
        ({"negative_prompt": "x" * 32_769}, "negative_prompt too long, max 32768 chars"),
        ({"width": 63}, "width 63 is not a multiple of 16"),
        ({"height": 0}, "height 0 is out of range, 16 to 4096"),
        ({"width": 4112}, "width 4112 is out of range, 16 to 4096"),
        ({"width": 64.0}, "width must be a whole number"),
        ({"num_inference_steps": 0}, "num_inference_steps 0 is out of range, 1 to 100"),
        ({"num_inference_steps": True}, "num_inference_steps must be a whole number"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"seed": 2**63}, "seed .* is out of range"),
        ({"true_cfg_scale": float("nan")}, "true_cfg_scale must be a finite number"),
        ({"true_cfg_scale": 31}, "true_cfg_scale 31 is out of range, 0 to 30"),
        ({"true_cfg_scale": "4"}, "true_cfg_scale must be a finite number"),
        (
            {"loras": tuple(dataclasses.replace(LORA, sha256=f"{i:064x}") for i in range(5))},
            "loras has 5 entries, max 4",
        ),
        ({"loras": (LORA, LORA)}, "loras names the same file twice"),
    ],
)
def test_rows_refuse(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GOOD, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ""}, "lora path"),
        ({"sha256": "A" * 64}, "lora sha256"),
        ({"scale": 2.1}, "lora scale 2.1 is out of range, -2 to 2"),
        ({"scale": float("inf")}, "lora scale must be a finite number"),
    ],
)
def test_loras_refuse(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(LORA, **changes)


def test_extremes_are_accepted() -> None:
    row = dataclasses.replace(GOOD, prompt="x" * 32_768, width=4096, height=16, seed=2**63 - 1, true_cfg_scale=0)
    assert row.guided is False
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.seed = 1  # type: ignore[misc]


def test_guidance_needs_both() -> None:
    assert dataclasses.replace(GOOD, true_cfg_scale=1.1, negative_prompt=" ").guided
    assert not dataclasses.replace(GOOD, true_cfg_scale=1.0, negative_prompt="x").guided
    assert not dataclasses.replace(GOOD, true_cfg_scale=9.0).guided


def test_length_buckets() -> None:
    ladder = (64, 128, 512)
    assert [length_bucket(n, ladder) for n in (1, 64, 65, 128, 129, 512)] == [64, 64, 128, 128, 512, 512]
    assert length_bucket(37, ()) == 37
    with pytest.raises(ValueError, match="n_tokens 513 is over the longest bucket, max 512"):
        length_bucket(513, ladder)
    with pytest.raises(ValueError, match="at least 1"):
        length_bucket(0, ladder)
