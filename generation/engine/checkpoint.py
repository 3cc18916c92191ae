"""Looks a checkpoint folder over before any weights are loaded. Imports no torch: `doctor` and the web may call it.

A half-copied folder otherwise ends in a stack trace from deep inside a library, or worse: missing tensors are filled
with random numbers and a warning nobody reads.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from generation.engine.errors import CheckpointError
from generation.engine.families import FAMILIES, FamilyInfo

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
WEIGHTS = {
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
_COPY_AGAIN = "copy it again from where the checkpoint came from"
_MAX_HEADER = 100_000_000  # the safetensors library's own bound


def verify_checkpoint(folder: Path, *, family: str = "qwen-image") -> None:
    """Raises CheckpointError naming the file: folder or parts missing, pickles, files cut short, foreign classes.

    Reads a few kilobytes per file; tensors are not looked at.
    """
    info = FAMILIES[family]
    if not folder.is_dir():
        reason = "is no folder" if folder.exists() else "does not exist"
        raise CheckpointError(file=folder, reason=reason, remedy="set the model's path to its checkpoint folder")
    _refuse_pickles(folder)
    _verify_index(folder / "model_index.json", info)
    _need(folder / "scheduler" / "scheduler_config.json", is_json=True)
    _verify_tokenizer(folder / info.tokenizer)
    for component, stem in WEIGHTS.items():
        _read_json(folder / component / "config.json")
        _verify_weights(folder / component, stem)


def verify_safetensors(file: Path) -> frozenset[str]:
    """The names of the tensors in a safetensors file, once its size agrees with its header. Raises CheckpointError."""
    return frozenset(read_header(file).keys() - {"__metadata__"})


def read_header(file: Path, *, most: int = _MAX_HEADER) -> dict[str, Any]:
    """The header of a safetensors file, once the file's size agrees with it. Raises CheckpointError.

    `most`: bytes that a header may have.

    Format: 8 bytes little-endian header length, JSON header with `data_offsets` per tensor, then the data
    (https://huggingface.co/docs/safetensors).
    """
    _need(file)
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise CheckpointError(file=file, reason="is a Git LFS pointer, not the weights", remedy="run git lfs pull")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(most, size - 8):
            raise CheckpointError(
                file=file, reason=f"is cut short or no safetensors ({size} bytes)", remedy=_COPY_AGAIN
            )
        header = _parse(file, stream.read(length))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        expected = 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
    except (TypeError, KeyError, IndexError) as error:
        raise CheckpointError(file=file, reason="has a broken header", remedy=_COPY_AGAIN) from error
    if size != expected:
        reason = f"has {size} bytes where its header promises {expected}"
        raise CheckpointError(file=file, reason=reason, remedy=_COPY_AGAIN)
    return header


def read_settings(folder: Path, *, family: str) -> dict[str, Any]:
    """The pipeline's own arguments that a verified folder's model_index.json holds."""
    index = _read_json(folder / "model_index.json")
    return {key: index[key] for key in FAMILIES[family].settings if index.get(key) is not None}


def _verify_index(file: Path, info: FamilyInfo) -> None:
    """The pipeline's class, and each part's: only the libraries' own."""
    index = _read_json(file)
    if index.get("_class_name") != info.pipeline:
        raise CheckpointError(
            file=file,
            reason=f"is for {index.get('_class_name')!r}, not for {info.pipeline}",
            remedy="choose the family that fits this checkpoint",
        )
    for component, (library, classes) in info.parts.items():
        if index.get(component) not in [[library, name] for name in classes]:
            raise CheckpointError(
                file=file,
                reason=f"{component} is {index.get(component)!r}, expected {[library, classes[0]]!r}",
                remedy="only checkpoints of the library's own classes are loaded",
            )


def _refuse_pickles(folder: Path) -> None:
    """A pickle runs code when it is read; none is tolerated, not even beside safetensors."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in PICKLES:
            raise CheckpointError(
                file=file,
                reason="is a pickle, which may run code when loaded",
                remedy="keep only safetensors: convert it or delete it",
            )


def _verify_tokenizer(folder: Path) -> None:
    _need(folder / "tokenizer_config.json", is_json=True)
    if (folder / "tokenizer.json").exists():
        _read_json(folder / "tokenizer.json")
        return
    for name in ("vocab.json", "merges.txt"):
        _need(folder / name, is_json=name.endswith(".json"))


def _verify_weights(folder: Path, stem: str) -> None:
    """One file, or all shards of an index."""
    index = folder / f"{stem}.safetensors.index.json"
    if not index.exists():
        verify_safetensors(folder / f"{stem}.safetensors")
        return
    weights = _read_json(index).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(file=index, reason="has no weight_map", remedy=_COPY_AGAIN)
    for shard in sorted(set(map(str, weights.values()))):
        if Path(shard).name != shard:
            raise CheckpointError(file=index, reason=f"names a shard outside its folder: {shard}", remedy=_COPY_AGAIN)
        _verify_shard(folder / shard, [name for name, file in weights.items() if file == shard])


def _verify_shard(file: Path, wanted: Iterable[str]) -> None:
    missing = sorted(set(wanted) - verify_safetensors(file))
    if missing:
        reason = f"lacks {len(missing)} tensors of the index, {missing[0]} among them"
        raise CheckpointError(file=file, reason=reason, remedy=_COPY_AGAIN)


def _need(file: Path, *, is_json: bool = False) -> None:
    if not file.is_file():
        raise CheckpointError(file=file, reason="is missing", remedy=_COPY_AGAIN)
    if file.stat().st_size == 0:
        raise CheckpointError(file=file, reason="is empty", remedy=_COPY_AGAIN)
    if is_json:
        _read_json(file)


def _read_json(file: Path) -> dict[str, Any]:
    _need(file)
    return _parse(file, file.read_bytes())


def _parse(file: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(file=file, reason="is no valid JSON, probably cut short", remedy=_COPY_AGAIN) from error
    if not isinstance(value, dict):
        raise CheckpointError(file=file, reason="is no JSON object", remedy=_COPY_AGAIN)
    return value
