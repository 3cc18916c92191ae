"""LoRA files made without torch, and rows that offer them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from generation.engine.catalog import PROJECT_ROOT
from generation.engine.lorafile import transformer_layers
from generation.engine.lorarules import RULES
from generation.models import Lora, Model

DEMO = PROJECT_ROOT / "generation/engine/demo/checkpoint"
RANK = 4


def write_lora(file: Path, *, seed: int = 0, rank: int = RANK, change: dict[str, Any] | None = None) -> Path:
    """A LoRA for the attention of the demo model, in single precision; `change` replaces tensors by key."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for name, (outputs, inputs) in transformer_layers(DEMO, RULES["qwen-image"]).items():
        if ".attn." in name:
            tensors[f"transformer.{name}.lora_A.weight"] = random.normal(size=(rank, inputs)) * 0.1
            tensors[f"transformer.{name}.lora_B.weight"] = random.normal(size=(outputs, rank)) * 0.1
    tensors |= change or {}
    header, data = {}, b""
    for key, tensor in tensors.items():
        raw = np.asarray(tensor, dtype="<f4").tobytes()
        header[key] = {
            "dtype": "F32",
            "shape": list(np.shape(tensor)),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def offer_demo_checkpoint() -> None:
    """The model of the tests gets the demo's files: what LoRAs are held against."""
    model = Model.objects.get(slug="demo")
    model.spec |= {"path": str(DEMO), "size_multiple": 32}
    model.save()


def offer_lora(slug: str = "style", **fields: Any) -> Lora:
    """A row whose file nobody looks at."""
    values = {"title": slug.title(), "family": "qwen-image", "bytes": 1000, "rank": RANK, "fits": ["demo"]}
    sha256 = f"{sum(slug.encode()):064x}"
    return Lora.objects.create(slug=slug, **(values | {"sha256": sha256} | fields))
