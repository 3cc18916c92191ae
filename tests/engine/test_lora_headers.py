"""Headers of LoRA files that somebody has made up: refused with a sentence, before the worker's own reader stumbles."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.engine.catalog import PROJECT_ROOT
from generation.engine.errors import LoraRefused
from generation.engine.lorafile import LoraPart, fit_lora, read_lora, transformer_layers
from generation.engine.lorarules import RULES

DEMO = PROJECT_ROOT / "generation/engine/demo/checkpoint"
QWEN = RULES["qwen-image"]
LAYER = "transformer_blocks.0.attn.to_q"
DOWN, UP, ALPHA = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight", f"{LAYER}.alpha"
SIZE = 4 * 160 * 4  # bytes of each side: rank 4, in single precision


def sides(**change: Any) -> dict[str, Any]:
    """A header whose two tensors lie one after the other; `change` is put into the first one's entry."""
    down = {"dtype": "F32", "shape": [4, 160], "data_offsets": [0, SIZE], **change}
    return {DOWN: down, UP: {"dtype": "F32", "shape": [160, 4], "data_offsets": [SIZE, 2 * SIZE]}}


def write(folder: Path, header: dict[str, Any] | bytes, data: bytes = bytes(2 * SIZE)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = folder / "x.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def fit(file: Path) -> dict[str, LoraPart]:
    return fit_lora(read_lora(file), rules=QWEN, layers=transformer_layers(DEMO, QWEN), max_rank=64)


def configured(**values: Any) -> dict[str, Any]:
    """A header with PEFT's configuration beside the tensors."""
    text = json.dumps({f"transformer.{name}": value for name, value in values.items()})
    return {**sides(), "__metadata__": {"lora_adapter_metadata": text}}


def test_a_plain_one_fits(tmp_path: Path) -> None:
    assert fit(write(tmp_path, sides())).keys() == {LAYER}


@pytest.mark.parametrize(
    ("first", "second", "size"),
    [
        ((0, SIZE), (0, SIZE), SIZE),
        ((0, SIZE), (SIZE // 2, SIZE // 2 + SIZE), SIZE // 2 + SIZE),
        ((0, SIZE), (SIZE + 64, 2 * SIZE + 64), 2 * SIZE + 64),
        ((1, SIZE + 1), (SIZE + 1, 2 * SIZE + 1), 2 * SIZE + 1),
    ],
    ids=["same", "overlapping", "hole", "hole at the start"],
)
def test_tensors_lie_one_after_the_other(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int], size: int
) -> None:
    """The library that the worker reads with refuses the file: accepted, it would fail everybody's pictures."""
    header = sides(data_offsets=list(first))
    header[UP]["data_offsets"] = list(second)
    with pytest.raises(LoraRefused, match="one after the other"):
        fit(write(tmp_path, header, bytes(size)))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1e999, 160]},
        {"shape": [4.0, 160]},
        {"shape": ["4", 160]},
        {"shape": [True, 160]},
        {"shape": "40"},
        {"shape": [1] * 300_000 + [4, 160]},
        {"data_offsets": [-1e999, SIZE]},
        {"data_offsets": [0.0, SIZE]},
        {"data_offsets": [-SIZE, 0]},
        {"data_offsets": [0, SIZE, SIZE]},
        {"dtype": ["F32"]},
    ],
    ids=lambda change: str(change)[:30],
)
def test_entries_are_whole_numbers(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(LoraRefused) as refused:
        fit(write(tmp_path, sides(**change)))
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", [b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b" " * 11_000_000 + b"{}"])
def test_headers_have_bounds(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(LoraRefused):
        read_lora(write(tmp_path, text, b""))


@pytest.mark.parametrize(
    "values",
    [
        {"alpha_pattern": {LAYER: "nan"}},
        {"alpha_pattern": {LAYER: 1e999}},
        {"alpha_pattern": {LAYER: "abc"}},
        {"alpha_pattern": {LAYER: [1]}},
        {"alpha_pattern": [4]},
        {"lora_alpha": 10**400},
        {"lora_alpha": True},
        {"lora_alpha": math.nan},
        {"lora_alpha": "4"},
    ],
    ids=lambda values: str(values)[:40],
)
def test_a_configured_alpha_is_a_number(tmp_path: Path, values: dict[str, Any]) -> None:
    """One that is NaN would draw NaN, though every tensor is finite."""
    with pytest.raises(LoraRefused, match="lora_adapter_metadata"):
        fit(write(tmp_path, configured(**values)))


def test_a_nested_configuration_is_refused(tmp_path: Path) -> None:
    header = {**sides(), "__metadata__": {"lora_adapter_metadata": "[" * 100_000}}
    with pytest.raises(LoraRefused, match="lora_adapter_metadata"):
        fit(write(tmp_path, header))


def test_a_layer_s_own_alpha_counts(tmp_path: Path) -> None:
    parts = fit(write(tmp_path, configured(lora_alpha=8, alpha_pattern={LAYER: 2})))
    assert parts[LAYER].factor == 0.5


@pytest.mark.parametrize("shape", [[0], [2], [1, 2]])
def test_alpha_is_one_number(tmp_path: Path, shape: list[int]) -> None:
    """An empty one would be read out of its neighbour's bytes."""
    size = 4 * math.prod(shape)
    header = {ALPHA: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    for key, entry in sides().items():
        header[key] = {**entry, "data_offsets": [at + size for at in entry["data_offsets"]]}
    with pytest.raises(LoraRefused, match="must be one number"):
        fit(write(tmp_path, header, bytes(2 * SIZE + size)))


@pytest.mark.parametrize(
    ("dtype", "kind", "value"), [("F64", "<f8", 1e300), ("F64", "<f8", -1e39), ("F32", "<f4", 3.4e38)]
)
def test_numbers_that_bf16_has_not_are_refused(tmp_path: Path, dtype: str, kind: str, value: float) -> None:
    """The worker draws in BF16, where they are infinite."""
    data = np.zeros(4 * 160, dtype=kind)
    data[7] = value
    header = sides(dtype=dtype, data_offsets=[0, data.nbytes])
    header[UP]["data_offsets"] = [data.nbytes, data.nbytes + SIZE]
    with pytest.raises(LoraRefused, match="infinity"):
        fit(write(tmp_path, header, data.tobytes() + bytes(SIZE)))
