"""Fusing the turbo LoRA at load. GPU worker only: torch at the top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from generation.engine.checkpoint import verify_safetensors
from generation.engine.errors import CheckpointError

_ADAPTER = "turbo"


def fuse_turbo(pipe: Any, *, file: Path, scale: float) -> None:
    """Add a LoRA to the transformer's weights for good, and take its adapter out again.

    The file is read here and handed over as a dict: diffusers would also read a pickle. The adapter must go after
    fusing: the next adapter that is loaded would otherwise un-merge it silently. Raises CheckpointError when the file
    is broken, holds NaN, or does not fit the transformer key by key (a wrong prefix otherwise loads nothing, without
    an error).
    """
    verify_safetensors(file)
    if file.suffix != ".safetensors":
        raise CheckpointError(file=file, reason="is no safetensors file", remedy="convert the LoRA to safetensors")
    weights = load_file(str(file))
    broken = sorted(name for name, tensor in weights.items() if not torch.isfinite(tensor.float()).all())
    if broken:
        raise CheckpointError(file=file, reason=f"holds NaN or infinity in {broken[0]}", remedy="get an intact LoRA")
    _check_fit(pipe, weights, file=file)
    pipe.load_lora_weights(weights, adapter_name=_ADAPTER)
    pipe.fuse_lora(components=["transformer"], lora_scale=scale, adapter_names=[_ADAPTER])
    pipe.unload_lora_weights()


def _check_fit(pipe: Any, weights: dict[str, torch.Tensor], *, file: Path) -> None:
    """Every key must meet a layer of the transformer with its shapes."""
    remedy = "use a LoRA that was made for this family"
    try:
        converted: dict[str, torch.Tensor] = pipe.lora_state_dict(weights.copy())
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(file=file, reason=f"has no LoRA keys of this family ({error})", remedy=remedy) from error
    layers = dict(pipe.transformer.named_modules())
    for key, tensor in converted.items():
        name, side, _ = key.removeprefix("transformer.").rpartition(".lora_")
        layer = layers.get(name)
        if not key.startswith("transformer.") or not side or not isinstance(layer, torch.nn.Linear):
            raise CheckpointError(file=file, reason=f"has a key that fits no layer: {key}", remedy=remedy)
        width = tensor.shape[1] if key.endswith("lora_A.weight") else tensor.shape[0]
        wanted = layer.in_features if key.endswith("lora_A.weight") else layer.out_features
        if tensor.ndim != 2 or width != wanted:
            reason = f"{key} has shape {tuple(tensor.shape)}, the layer has {wanted}"
            raise CheckpointError(file=file, reason=reason, remedy=remedy)
    if not converted:
        raise CheckpointError(file=file, reason="holds no tensors", remedy=remedy)
