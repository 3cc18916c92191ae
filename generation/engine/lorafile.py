"""LoRA files: does one fit a model, key by key? Imports no torch: staff's check in the web asks the same question.

diffusers loads a file of which half the keys belong to another architecture, loads nothing from one with a wrong
prefix, and draws NaN from one that holds NaN, all without an error. Here every key must meet a layer with its shapes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.engine.checkpoint import read_header
from generation.engine.errors import CheckpointError, LoraRefused
from generation.engine.lorarules import LoraRules

MAX_BYTES = 2_000_000_000
Layers = Mapping[str, tuple[int, int]]  # name → (outputs, inputs)

_SIDES = {
    "lora_A.weight": "down", "lora_A.default.weight": "down", "lora_down.weight": "down", "lora.down.weight": "down",
    "lora_B.weight": "up", "lora_B.default.weight": "up", "lora_up.weight": "up", "lora.up.weight": "up",
    "alpha": "alpha",
}  # fmt: skip
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# All bits of the exponent set: infinity or NaN (IEEE 754; BF16 is the upper half of a single).
_EXPONENT = {
    "F64": ("<u8", 0x7FF0 << 48), "F32": ("<u4", 0x7F80 << 16), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraPart:
    """One layer's adapter: the keys of its tensors, (rank, inputs) and (outputs, rank), and alpha ÷ rank."""

    down: str
    up: str
    rank: int
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A file that was looked over. `shapes` by key; `alphas` are the values of its `alpha` tensors by key."""

    bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    alphas: Mapping[str, float]
    config: Mapping[str, Any]

    @property
    def rank(self) -> int:
        """The largest; 0 where no key says one."""
        downs = [shape[0] for key, shape in self.shapes.items() if _split(key)[1] == "down" and len(shape) == 2]
        return max(downs, default=0)


def read_lora(file: Path, *, values: bool = True) -> LoraFile:
    """Read the header, and with `values` every number: all must be finite. Raises LoraRefused naming the key.

    Takes a second for each gigabyte and no memory: the file is mapped.
    """
    try:
        header = read_header(file)
    except CheckpointError as error:
        raise LoraRefused(f"the file {error.reason}") from error
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise LoraRefused(f"the file has {size:,} bytes, max {MAX_BYTES:,}")
    metadata = header.pop("__metadata__", None) or {}
    data = size - max((_entry(key, entry)[2] for key, entry in header.items()), default=size)
    shapes, alphas = {}, {}
    for key, entry in header.items():
        dtype, shapes[key], end, begin = _entry(key, entry)
        found = _read_values(file, key, dtype, begin=data + begin, end=data + end) if values else None
        if _split(key)[1] == "alpha":
            alphas[key] = _read_alpha(file, key, dtype, begin=data + begin) if found is None else float(found)
    return LoraFile(bytes=size, shapes=shapes, alphas=alphas, config=_read_config(metadata))


def fit_lora(lora: LoraFile, *, rules: LoraRules, layers: Layers, max_rank: int) -> dict[str, LoraPart]:
    """The layer that each key belongs to. Raises LoraRefused, naming the key, unless every one fits.

    `layers`: those of the model that may carry adapters.
    """
    flat = {name.replace(".", "_"): name for name in layers}
    found: dict[str, dict[str, str]] = {}
    for key in sorted(lora.shapes):
        stem, side = _split(key)
        layer = rules.find_layer(stem, layers, flat) if side else None
        if layer is None:
            raise LoraRefused(f"key {_short(key)} fits no layer of this model that takes a LoRA")
        if side in found.setdefault(layer, {}):
            raise LoraRefused(f"keys {_short(found[layer][side])} and {_short(key)} are for the same layer")
        found[layer][side] = key
    if not found:
        raise LoraRefused("the file holds no tensors")
    return {layer: _fit_layer(lora, layer, keys, layers[layer], max_rank) for layer, keys in found.items()}


def transformer_layers(folder: Path, rules: LoraRules) -> dict[str, tuple[int, int]]:
    """The layers of a checkpoint that may carry adapters, read from its headers. Raises CheckpointError."""
    files = sorted((folder / "transformer").glob("*.safetensors"))
    if not files:
        reason = "holds no weights of a transformer"
        raise CheckpointError(file=folder, reason=reason, remedy="put the checkpoint there")
    found = {}
    for file in files:
        for key, entry in read_header(file).items():
            name = key.removesuffix(".weight")
            if name != key and rules.carries.fullmatch(name) and len(shape := entry["shape"]) == 2:
                found[name] = (int(shape[0]), int(shape[1]))
    return found


def _fit_layer(lora: LoraFile, layer: str, keys: Mapping[str, str], size: tuple[int, int], most: int) -> LoraPart:
    for side, other in (("up", "down"), ("down", "up")):
        if side not in keys:
            named = _short(keys.get(other, keys.get("alpha", layer)))
            raise LoraRefused(f"key {named} has no partner: the {side} side of its layer is missing")
    down, up = lora.shapes[keys["down"]], lora.shapes[keys["up"]]
    outputs, inputs = size
    rank = down[0] if down else 0
    for key, shape, wanted in ((keys["down"], down, (rank, inputs)), (keys["up"], up, (outputs, rank))):
        if shape != wanted:
            raise LoraRefused(f"key {_short(key)} has the shape {list(shape)}, this model's layer takes {list(wanted)}")
    if not 1 <= rank <= most:
        raise LoraRefused(f"key {_short(keys['down'])} has rank {rank}, this model takes 1 to {most}")
    alpha = lora.alphas.get(keys.get("alpha", ""), _configured_alpha(lora.config, layer, rank))
    by = math.sqrt(rank) if lora.config.get("use_rslora") and "alpha" not in keys else rank
    return LoraPart(down=keys["down"], up=keys["up"], rank=rank, factor=alpha / by)


def _configured_alpha(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """What the file's own PEFT configuration says; a file that says nothing has alpha = rank."""
    pattern = config.get("alpha_pattern") or {}
    value = pattern.get(layer, config.get("lora_alpha")) if isinstance(pattern, Mapping) else None
    if value is None:
        return math.sqrt(rank) if config.get("use_rslora") else float(rank)
    return float(value)


def _read_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The PEFT configuration that diffusers writes beside the tensors, of the transformer alone."""
    try:
        config = json.loads(metadata.get("lora_adapter_metadata") or "{}")
        found = {str(key).removeprefix("transformer."): value for key, value in config.items()}
        alpha = float(found.get("lora_alpha") or 1)
    except (TypeError, ValueError, AttributeError) as error:
        raise LoraRefused("lora_adapter_metadata cannot be read") from error
    if not math.isfinite(alpha):
        raise LoraRefused("lora_alpha in lora_adapter_metadata is not finite")
    if found.get("use_dora"):
        raise LoraRefused("lora_adapter_metadata says use_dora: DoRA is not drawn here")
    return found


def _entry(key: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, end and begin of one tensor, which must agree."""
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
        begin, end = (int(at) for at in entry["data_offsets"])
    except (TypeError, KeyError, ValueError) as error:
        raise LoraRefused(f"key {_short(key)} is described wrongly in the file's header") from error
    if dtype not in _BYTES:
        raise LoraRefused(f"key {_short(key)} is {dtype[:20]}, only {', '.join(_BYTES)} are taken")
    if min(shape, default=1) < 0 or begin < 0 or end - begin != math.prod(shape) * _BYTES[dtype]:
        raise LoraRefused(f"key {_short(key)} is described wrongly in the file's header")
    return dtype, shape, end, begin


def _read_values(file: Path, key: str, dtype: str, *, begin: int, end: int) -> float | None:
    """Raises LoraRefused unless all numbers are finite; a single one is returned."""
    import numpy as np  # only where files are looked over: web processes start without it

    kind, exponent = _EXPONENT[dtype]
    count = (end - begin) // _BYTES[dtype]
    bits = np.memmap(file, dtype=kind, mode="r", offset=begin, shape=(count,)) if count else np.empty(0, dtype=kind)
    step = 1 << 22  # a few megabytes at a time
    for at in range(0, count, step):
        part = bits[at : at + step]
        if ((part & exponent) == exponent).any():
            raise LoraRefused(f"key {_short(key)} holds NaN or infinity")
    return _read_alpha(file, key, dtype, begin=begin) if count == 1 else None


def _read_alpha(file: Path, key: str, dtype: str, *, begin: int) -> float:
    import numpy as np  # see above

    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}[dtype]
    raw = np.fromfile(file, dtype=kind, count=1, offset=begin)
    if raw.size != 1:
        raise LoraRefused(f"key {_short(key)} must be one number")
    if dtype == "BF16":
        raw = (raw.astype("<u4") << 16).view("<f4")
    return float(raw[0])


def _split(key: str) -> tuple[str, str]:
    """The layer's name as the file has it, and which of the tensors it is; ("", "") for anything else."""
    for ending, side in _SIDES.items():
        if key.endswith(f".{ending}"):
            return key[: -len(ending) - 1], side
    return "", ""


def _short(key: str) -> str:
    text = key if len(key) <= 120 else f"{key[:119]}…"
    return text.encode("utf-8", "replace").decode()
