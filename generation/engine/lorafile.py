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
MAX_HEADER = 10_000_000  # of bytes: a thousand layers need a few hundred thousand
_MAX_DIMENSIONS = 8
_MAX_ALPHA = 1e6  # a layer's strength is alpha ÷ rank
Layers = Mapping[str, tuple[int, int]]  # name → (outputs, inputs)

_SIDES = {
    "lora_A.weight": "down", "lora_A.default.weight": "down", "lora_down.weight": "down", "lora.down.weight": "down",
    "lora_B.weight": "up", "lora_B.default.weight": "up", "lora_up.weight": "up", "lora.up.weight": "up",
    "alpha": "alpha",
}  # fmt: skip
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# How a number's bits are read, which of them are not its sign, and from where on BF16 has infinity or NaN for it. Bits
# without their sign stand in the order of the numbers (IEEE 754; BF16 is the upper half of a single).
_NUMBERS = {
    "F64": ("<u8", (1 << 63) - 1, 0x47EFF00000000000), "F32": ("<u4", (1 << 31) - 1, 0x7F7F8000),
    "F16": ("<u2", (1 << 15) - 1, 0x7C00), "BF16": ("<u2", (1 << 15) - 1, 0x7F80),
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
        header = read_header(file, most=MAX_HEADER)
    except CheckpointError as error:
        raise LoraRefused(f"the file {error.reason}") from error
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise LoraRefused(f"the file has {size:,} bytes, max {MAX_BYTES:,}")
    metadata = header.pop("__metadata__", None) or {}
    entries = _in_their_order(header)
    data = size - max((entry.end for entry in entries.values()), default=size)
    shapes, alphas = {}, {}
    for key, entry in entries.items():
        shapes[key] = entry.shape
        if values:
            _check_values(file, key, entry, data=data)
        if _split(key)[1] == "alpha":
            alphas[key] = _read_alpha(file, key, entry, data=data)
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
    value = pattern.get(layer, config.get("lora_alpha"))
    if value is None:
        return math.sqrt(rank) if config.get("use_rslora") else float(rank)
    return float(value)


def _read_config(metadata: Any) -> dict[str, Any]:
    """The PEFT configuration that diffusers writes beside the tensors, of the transformer alone."""
    try:
        config = json.loads(metadata.get("lora_adapter_metadata") or "{}")
        found = {str(key).removeprefix("transformer."): value for key, value in config.items()}
        pattern = found.get("alpha_pattern") or {}
        alphas = [value for value in (found.get("lora_alpha"), *pattern.values()) if value is not None]
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LoraRefused("lora_adapter_metadata cannot be read") from error
    if not all(_is_alpha(value) for value in alphas):
        raise LoraRefused("an alpha in lora_adapter_metadata is no finite number")
    if found.get("use_dora"):
        raise LoraRefused("lora_adapter_metadata says use_dora: DoRA is not drawn here")
    return found


def _is_alpha(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_ALPHA


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor as the header has it; `begin` and `end` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def _in_their_order(header: Mapping[str, Any]) -> dict[str, _Entry]:
    """All tensors as they lie in the file. Raises LoraRefused.

    The library that workers read with takes a file only where they lie one after the other, without holes: nobody
    should hear of that from a failed picture.
    """
    entries = {key: _read_entry(key, entry) for key, entry in header.items()}
    at = 0
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    for key, entry in ordered.items():
        if entry.begin != at:
            raise LoraRefused(f"key {_short(key)} begins at byte {entry.begin}: tensors must lie one after the other")
        at = entry.end
    return ordered


def _read_entry(key: str, entry: Any) -> _Entry:
    """dtype, shape, begin and end of one tensor, which must agree."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise LoraRefused(f"key {_short(key)} is described wrongly in the file's header") from error
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise LoraRefused(f"key {_short(key)} is {str(dtype)[:20]}, only {', '.join(_BYTES)} are taken")
    numbers = [*shape, begin, end] if isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS else [None]
    if (
        not all(type(number) is int and 0 <= number <= MAX_BYTES for number in numbers)
        or end - begin != math.prod(shape) * _BYTES[dtype]
    ):
        raise LoraRefused(f"key {_short(key)} is described wrongly in the file's header")
    return _Entry(dtype, tuple(shape), begin, end)


def _check_values(file: Path, key: str, entry: _Entry, *, data: int) -> None:
    """Raises LoraRefused unless all numbers are finite, as they are and in BF16."""
    import numpy as np  # only where files are looked over: web processes start without it

    if not entry.count:
        return
    kind, size, most = _NUMBERS[entry.dtype]
    bits = np.memmap(file, dtype=kind, mode="r", offset=data + entry.begin, shape=(entry.count,))
    step = 1 << 22  # a few megabytes at a time
    for at in range(0, entry.count, step):
        if ((bits[at : at + step] & size) >= most).any():
            raise LoraRefused(f"key {_short(key)} holds NaN or infinity, or what BF16 has infinity for")


def _read_alpha(file: Path, key: str, entry: _Entry, *, data: int) -> float:
    import numpy as np  # see above

    if entry.count != 1:
        raise LoraRefused(f"key {_short(key)} must be one number")
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry.dtype]
    raw = np.fromfile(file, dtype=kind, count=1, offset=data + entry.begin)
    if entry.dtype == "BF16":
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
