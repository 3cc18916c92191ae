"""LoRA files are looked over before they count: every key fits, every number is finite, or the key is named."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_files import RANK, blocks, make_weights, save, use

from generation.engine.adapters import Adapters
from generation.engine.catalog import PROJECT_ROOT
from generation.engine.errors import LoraRefused
from generation.engine.loader import LoadedModel
from generation.engine.lorafile import LoraPart, fit_lora, read_lora, transformer_layers
from generation.engine.lorarules import RULES

DEMO = PROJECT_ROOT / "generation/engine/demo/checkpoint"
QWEN = RULES["qwen-image"]


@pytest.fixture(scope="module")
def adapters(model: LoadedModel) -> Adapters:
    assert model.family.adapters is not None
    return model.family.adapters


def fit(file: Path, adapters: Adapters, rules: Any = QWEN, max_rank: int = 128) -> dict[str, LoraPart]:
    return fit_lora(read_lora(file), rules=rules, layers=adapters._layers, max_rank=max_rank)


def test_the_checkpoint_s_headers_name_the_layers_that_the_model_has(adapters: Adapters, checkpoint: Path) -> None:
    """The web judges by headers, the worker by the model in memory: they must not differ."""
    assert transformer_layers(checkpoint, QWEN) == adapters._layers
    demo = transformer_layers(DEMO, QWEN)
    assert len(demo) == 6 * 14 + 6  # layers × (8 of attention, 4 of MLPs, 2 modulations), and 6 around them
    assert demo["transformer_blocks.0.attn.to_q"] == (160, 160)


@pytest.mark.parametrize(
    ("prefix", "sides"),
    [
        ("transformer.", ("lora_A.weight", "lora_B.weight")),
        ("diffusion_model.", ("lora_A.weight", "lora_B.weight")),
        ("base_model.model.", ("lora_A.default.weight", "lora_B.default.weight")),
        ("", ("lora_down.weight", "lora_up.weight")),
        ("diffusion_model.", ("lora.down.weight", "lora.up.weight")),
    ],
)
def test_the_ways_of_trainers_are_read(adapters: Adapters, tmp_path: Path, prefix: str, sides: tuple[str, str]) -> None:
    weights = make_weights(adapters, prefix=prefix, sides=sides)
    parts = fit(save(tmp_path, weights), adapters)
    assert parts.keys() == adapters._layers.keys()
    assert all(part.rank == RANK and part.factor == 1 for part in parts.values())


def test_names_without_dots_are_found_by_the_layers_names(adapters: Adapters, tmp_path: Path) -> None:
    weights = make_weights(adapters, sides=("lora_down.weight", "lora_up.weight"), prefix="", only=blocks)
    flat = {}
    for key, tensor in weights.items():
        name, _, side = key.rpartition(".lora_")
        flat[f"lora_unet_{name.replace('.', '_')}.lora_{side}"] = tensor
        flat[f"lora_unet_{name.replace('.', '_')}.alpha"] = torch.tensor(1.0)
    parts = fit(save(tmp_path, flat), adapters)
    assert parts.keys() == {name for name in adapters._layers if blocks(name)}
    assert {part.factor for part in parts.values()} == {1 / RANK}


def test_z_image_s_old_name_of_the_last_projection_is_known() -> None:
    layers = {"layers.0.attention.to_out.0": (8, 8)}
    flat = {name.replace(".", "_"): name for name in layers}
    for name in ("diffusion_model.layers.0.attention.out", "lora_unet_layers_0_attention_out"):
        assert RULES["z-image"].find_layer(name, layers, flat) == "layers.0.attention.to_out.0"


def test_a_peft_configuration_in_the_file_is_heard(adapters: Adapters, tmp_path: Path) -> None:
    weights = make_weights(adapters, only=blocks)
    said = {"transformer.r": RANK, "transformer.lora_alpha": 8, "transformer.alpha_pattern": {first(adapters): 2}}
    parts = fit(save(tmp_path, weights, metadata={"lora_adapter_metadata": json.dumps(said)}), adapters)
    assert parts[first(adapters)].factor == 2 / RANK
    assert {part.factor for name, part in parts.items() if name != first(adapters)} == {8 / RANK}
    with pytest.raises(LoraRefused, match="DoRA"):
        fit(save(tmp_path, weights, metadata={"lora_adapter_metadata": '{"transformer.use_dora": true}'}), adapters)


def first(adapters: Adapters) -> str:
    return next(name for name in adapters._layers if blocks(name))


def rename(old: str, new: str) -> Any:
    return lambda weights: {key.replace(old, new): value for key, value in weights.items()}


def change(pattern: str, alter: Any) -> Any:
    return lambda weights: {key: alter(value) if re.search(pattern, key) else value for key, value in weights.items()}


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        pytest.param(rename("transformer.", "unet."), r"key unet\.\S+ fits no layer", id="wrong prefix"),
        pytest.param(
            lambda w: w | {"transformer.double_blocks.0.img_attn.qkv.lora_A.weight": torch.zeros(4, 8)},
            r"key transformer\.double_blocks\.0\.img_attn\.qkv\.lora_A\.weight fits no layer",
            id="half another architecture",
        ),
        pytest.param(
            lambda w: w | {"text_encoder.layers.0.q_proj.lora_A.weight": torch.zeros(4, 8)},
            r"key text_encoder\.layers\.0\.q_proj\.lora_A\.weight fits no layer",
            id="a text encoder's",
        ),
        pytest.param(
            lambda w: dict(list(w.items())[1:]), r"has no partner: the down side", id="half of a pair"
        ),
        pytest.param(
            change("blocks.1.attn.to_q.lora_A", lambda v: v.index_fill(1, torch.tensor([3]), float("nan"))),
            r"key transformer\.transformer_blocks\.1\.attn\.to_q\.lora_A\.weight holds NaN",
            id="NaN",
        ),
        pytest.param(
            change("blocks.1.attn.to_q.lora_B", lambda v: v.float().index_fill(0, torch.tensor([0]), float("inf"))),
            r"to_q\.lora_B\.weight holds NaN or infinity",
            id="infinity in FP32",
        ),
        pytest.param(
            change("blocks.0.attn.to_q.lora_A", lambda v: v[:, :5].contiguous()),
            r"blocks\.0\.attn\.to_q\.lora_A\.weight has the shape \[4, 5\], this model's layer takes \[4, 32\]",
            id="another size of the family",
        ),
        pytest.param(
            change("blocks.0.attn.to_q.lora_B", lambda v: v[:, :2].contiguous()),
            r"to_q\.lora_B\.weight has the shape \[32, 2\]",
            id="sides of two ranks",
        ),
        pytest.param(
            lambda w: w | {"transformer.transformer_blocks.0.attn.to_q.dora_scale": torch.ones(32)},
            r"dora_scale fits no layer",
            id="DoRA",
        ),
        pytest.param(
            lambda w: w | {"transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(4, 32)},
            r"are for the same layer",
            id="a layer twice",
        ),
        pytest.param(change(".", lambda v: v.to(torch.int8)), r"is I8, only", id="whole numbers"),
        pytest.param(lambda w: {"a.alpha": torch.tensor(1.0)}, r"key a\.alpha fits no layer", id="nothing of ours"),
        pytest.param(lambda w: {}, r"holds no tensors", id="empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(adapters: Adapters, tmp_path: Path, alter: Any, says: str) -> None:
    file = save(tmp_path, alter(make_weights(adapters, only=blocks)))
    with pytest.raises(LoraRefused, match=says):
        fit(file, adapters)
    with pytest.raises(LoraRefused, match=says):
        adapters.hold([use(file, name="style")])
    assert adapters.held == ()
    assert not any("lora" in name for name, _ in adapters._transformer.named_parameters() if "lora_A" in name)


def test_a_rank_over_the_slot_is_refused(adapters: Adapters, tmp_path: Path) -> None:
    file = save(tmp_path, make_weights(adapters, rank=9, only=blocks))
    with pytest.raises(LoraRefused, match=r"lora_A\.weight has rank 9, this model takes 1 to 8"):
        fit(file, adapters, max_rank=8)
    assert fit(file, adapters, max_rank=9)


def test_another_family_s_file_is_refused(adapters: Adapters, tmp_path: Path) -> None:
    file = save(tmp_path, make_weights(adapters, only=blocks))
    layers = {"layers.0.attention.to_q": (32, 32)}
    with pytest.raises(LoraRefused, match=r"key transformer\.transformer_blocks\.0\.\S+ fits no layer"):
        fit_lora(read_lora(file), rules=RULES["z-image"], layers=layers, max_rank=128)


def test_a_family_that_has_freed_its_modulation_refuses_those_keys(adapters: Adapters, tmp_path: Path) -> None:
    """diffusers loads such a file without a word and loses the keys; here a layer that carries nothing is no layer."""
    rules = dataclasses.replace(QWEN, carries=re.compile(r"transformer_blocks\.\d+\.attn\..*"))
    layers = {name: size for name, size in adapters._layers.items() if rules.carries.fullmatch(name)}
    file = save(tmp_path, make_weights(adapters, only=lambda name: ".attn." in name or "img_mod" in name))
    with pytest.raises(LoraRefused, match=r"img_mod\.1\.lora_A\.weight fits no layer"):
        fit_lora(read_lora(file), rules=rules, layers=layers, max_rank=128)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\x80\x04\x95 a pickle, which would run code", "no safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        (struct.pack("<Q", 2**40) + b"{}", "no safetensors"),
        (struct.pack("<Q", 2) + b"{}" + b"rest", "where its header promises"),
        (struct.pack("<Q", 8) + b"[1, 2]  ", "no JSON object"),
        (struct.pack("<Q", 17) + b'{"a": {"b": "c"}}', "broken header"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused(adapters: Adapters, tmp_path: Path, data: bytes, says: str) -> None:
    file = tmp_path / "lora.safetensors"
    file.write_bytes(data)
    with pytest.raises(LoraRefused, match=says):
        fit(file, adapters)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "BF16", "shape": [4, 32], "data_offsets": [0, 8]},
        {"dtype": "BF16", "shape": [-1, -4], "data_offsets": [0, 8]},
        {"dtype": "BF16", "shape": [2, 2], "data_offsets": [-8, 8]},
        {"dtype": "BF16", "shape": "x", "data_offsets": [0, 8]},
        {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8, 9]},
    ],
)
def test_a_header_that_lies_is_refused(adapters: Adapters, tmp_path: Path, entry: dict[str, Any]) -> None:
    header = json.dumps({"transformer.proj_out.lora_A.weight": entry}).encode()
    file = tmp_path / "lora.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(LoraRefused, match=r"described wrongly|where its header promises|broken header"):
        fit(file, adapters)


def test_the_largest_rank_of_a_file_is_told(adapters: Adapters, tmp_path: Path) -> None:
    weights = make_weights(adapters, only=blocks) | make_weights(adapters, rank=7, only=lambda name: name == "proj_out")
    assert read_lora(save(tmp_path, weights)).rank == 7
