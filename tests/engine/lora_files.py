"""LoRA files for tests: random ones that change the picture, in the ways that trainers write them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from generation.engine.adapters import Adapters
from generation.engine.request import LoraUse

RANK = 4


def make_weights(
    adapters: Adapters, *, seed: int = 0, rank: int = RANK, strength: float = 0.15, prefix: str = "transformer.",
    sides: tuple[str, str] = ("lora_A.weight", "lora_B.weight"), only: Callable[[str], bool] = lambda name: True,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Both sides for each layer that may carry them, or for those of `only`."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, (outputs, inputs) in adapters._layers.items():
        if only(name):
            down = torch.randn(rank, inputs, generator=generator) * strength
            up = torch.randn(outputs, rank, generator=generator) * strength
            weights[f"{prefix}{name}.{sides[0]}"] = down.bfloat16()
            weights[f"{prefix}{name}.{sides[1]}"] = up.bfloat16()
    assert weights
    return weights


def blocks(name: str) -> bool:
    """The attention and MLP layers, which most LoRAs train."""
    return ".attn." in name or "_mlp." in name


def save(folder: Path, weights: dict[str, torch.Tensor], *, metadata: dict[str, str] | None = None) -> Path:
    """A file named by its hash, as the studio stores them."""
    draft = folder / "draft.safetensors"
    save_file(weights, str(draft), metadata={"format": "pt", **(metadata or {})})
    return draft.rename(folder / f"{hash_file(draft)}.safetensors")


def use(file: Path, scale: float = 1.0, name: str = "") -> LoraUse:
    """How a row names the file."""
    return LoraUse(path=str(file), sha256=hash_file(file), scale=scale, name=name)


def hash_file(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def draw(model: Any, rows: list[Any], hooks: Any) -> dict[str, torch.Tensor]:
    """The latents of each row, all drawn; raises what failed."""
    from generation.engine.run import run_pass

    outcome = run_pass(model, rows, hooks)
    for row in outcome.rows:
        if row.error is not None:
            raise row.error
    return {row.key: row.latents.tensor for row in outcome.rows if row.latents is not None}
