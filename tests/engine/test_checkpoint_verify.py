"""Each way a checkpoint folder can be broken is named with its file before any weights are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_tiny import make_spec
from safetensors.torch import load_file, save_file

from generation.engine import loader
from generation.engine.checkpoint import verify_checkpoint, verify_safetensors
from generation.engine.errors import CheckpointError
from generation.engine.loader import load_model

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def break_it(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return break_it


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def edit_index(**changes: Any) -> Callable[[Path], None]:
    def break_it(folder: Path) -> None:
        file = folder / "model_index.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return break_it


@pytest.mark.parametrize(
    ("break_it", "file", "reason"),
    [
        (remove("model_index.json"), "model_index.json", "is missing"),
        (cut("model_index.json", 0.5), "model_index.json", "no valid JSON"),
        (edit_index(_class_name="FluxPipeline"), "model_index.json", "not for QwenImagePipeline"),
        (edit_index(transformer=["my_code", "Mine"]), "model_index.json", "my_code"),
        (edit_index(vae=None), "model_index.json", "vae is None"),
        (remove("transformer/config.json"), "transformer/config.json", "is missing"),
        (remove("vae/config.json"), "vae/config.json", "is missing"),
        (remove("scheduler/scheduler_config.json"), "scheduler_config.json", "is missing"),
        (remove("tokenizer/tokenizer.json"), "tokenizer/vocab.json", "is missing"),
        (remove("tokenizer/tokenizer_config.json"), "tokenizer_config.json", "is missing"),
        (remove(WEIGHTS), WEIGHTS, "is missing"),
        (cut(WEIGHTS, 0.5), WEIGHTS, "its header promises"),
        (cut(WEIGHTS, 0.01), WEIGHTS, "is cut short"),
        (cut(WEIGHTS, 0.0), WEIGHTS, "is empty"),
        (cut("text_encoder/model.safetensors", 0.999), "text_encoder/model.safetensors", "its header promises"),
        (write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), WEIGHTS, "Git LFS pointer"),
        (write("vae/diffusion_pytorch_model.bin", "x"), "diffusion_pytorch_model.bin", "is a pickle"),
        (write("extra.pt", "x"), "extra.pt", "is a pickle"),
        (write("transformer/old.CKPT", "x"), "old.CKPT", "is a pickle"),
        (write("text_encoder/a.pkl", "x"), "a.pkl", "is a pickle"),
    ],
)
def test_broken_folders_name_the_file(own_copy: Path, break_it: Callable[[Path], None], file: str, reason: str) -> None:
    break_it(own_copy)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(make_spec(own_copy), device="cpu")
    assert caught.value.file == str(own_copy / file) or caught.value.file.endswith(file)
    assert caught.value.remedy and caught.value.file in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        verify_checkpoint(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is no folder"):
        verify_checkpoint(tmp_path / "file")


def shard(folder: Path) -> Path:
    """Turn the transformer into two shards with an index."""
    file = folder / WEIGHTS
    weights = load_file(str(file))
    file.unlink()
    names = sorted(weights)
    parts = {"m-00001-of-00002.safetensors": names[::2], "m-00002-of-00002.safetensors": names[1::2]}
    for part, keys in parts.items():
        save_file({key: weights[key] for key in keys}, str(file.parent / part), metadata={"format": "pt"})
    index = file.parent / "diffusion_pytorch_model.safetensors.index.json"
    weight_map = {key: part for part, keys in parts.items() for key in keys}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def test_shards_are_loaded_and_a_missing_one_is_named(own_copy: Path) -> None:
    index = shard(own_copy)
    assert load_model(make_spec(own_copy), device="cpu").family.dtype.is_floating_point
    (index.parent / "m-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing") as caught:
        load_model(make_spec(own_copy), device="cpu")
    assert caught.value.file.endswith("m-00002-of-00002.safetensors")


def test_a_shard_without_its_tensors_and_one_outside_the_folder(own_copy: Path) -> None:
    index = shard(own_copy)
    first = index.parent / "m-00001-of-00002.safetensors"
    save_file({"other": torch.zeros(1)}, str(first))
    with pytest.raises(CheckpointError, match=r"lacks .* tensors"):
        verify_checkpoint(own_copy)
    index.write_text(json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside its folder"):
        verify_checkpoint(own_copy)


def test_tensors_that_the_config_wants_must_be_there(own_copy: Path) -> None:
    """A library would fill them with random numbers, and warn."""
    file = own_copy / WEIGHTS
    weights = load_file(str(file))
    dropped = weights.pop("proj_out.weight")
    save_file(weights, str(file), metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing keys: 1, proj_out.weight"):
        load_model(make_spec(own_copy), device="cpu")
    save_file({**weights, "proj_out.weight": dropped[:, :3].contiguous()}, str(file), metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="transformer"):
        load_model(make_spec(own_copy), device="cpu")


def test_a_hub_id_that_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="not in the local hub cache") as caught:
        load_model(make_spec(Path("nobody/has-this")), device="cpu")
    assert caught.value.file == "nobody/has-this"


def test_header_that_lies(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    header = b'{"a": {"dtype": "F32", "shape": [1]}}'
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="broken header"):
        verify_safetensors(file)
    file.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="cut short"):
        verify_safetensors(file)


@pytest.mark.parametrize("where", ["_place", "_load_weights"])
def test_a_model_that_does_not_fit_says_how_much_is_free(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loader, where, fail)
    with pytest.raises(CheckpointError, match=r"does not fit .*: [\d,]+ of [\d,]+ bytes are free; .*offload") as caught:
        load_model(make_spec(checkpoint), device="cpu")
    assert caught.value.file == str(checkpoint)
    assert "Tried to allocate" not in str(caught.value)
