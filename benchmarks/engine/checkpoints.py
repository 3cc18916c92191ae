"""Qwen-Image and Z-Image with random weights, made on the device: no file and no network.

`full` has the numbers of the published config.json files (Qwen/Qwen-Image-2512, Tongyi-MAI/Z-Image-Turbo); `tiny` are
the same classes in a size for tests. The tokenizer is the demo's: few words, but class and template of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
)

from benchmarks.results import ROOT
from generation.engine.catalog import ModelSpec

SCALES = ("full", "tiny")
NAMES = ("qwen-image", "z-image")
PATH = "random/"  # a model's path is this and its name: nobody's hub id, and `timed.py` knows what it means

_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "qwen-image/full": {
        "transformer": {
            "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
            "num_attention_heads": 24, "joint_attention_dim": 3584, "guidance_embeds": False,
            "axes_dims_rope": (16, 56, 56),
        },
        "vae": {"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2},
        "text": {
            "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "bos_token_id": None, "eos_token_id": 0,
            "pad_token_id": 0,
        },
        "vision": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    },
    "qwen-image/tiny": {
        "transformer": {
            "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
            "joint_attention_dim": 32, "axes_dims_rope": (4, 6, 6),
        },
        "vae": {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1},
        "text": {
            "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "bos_token_id": None, "eos_token_id": 0,
            "pad_token_id": 0,
        },
        "vision": {
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 1, "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
    },
    "z-image/full": {
        "transformer": {
            "all_patch_size": (2,), "all_f_patch_size": (1,), "in_channels": 16, "dim": 3840, "n_layers": 30,
            "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "norm_eps": 1e-5, "qk_norm": True,
            "cap_feat_dim": 2560, "rope_theta": 256.0, "t_scale": 1000.0, "axes_dims": [32, 48, 48],
            "axes_lens": [1536, 512, 512],
        },
        "vae": {
            "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32,
            "mid_block_add_attention": True,
        },
        "text": {
            "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
            "pad_token_id": 0,
        },
    },
    "z-image/tiny": {
        "transformer": {
            "in_channels": 16, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
            "cap_feat_dim": 32, "axes_dims": [4, 6, 6], "axes_lens": [640, 32, 32],
        },
        "vae": {
            "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4,
            "mid_block_add_attention": False,
        },
        "text": {
            "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 2048,
            "pad_token_id": 0,
        },
    },
}  # fmt: skip


def make_spec(name: str, scale: str, *, compile: bool = False) -> ModelSpec:
    """The entry of a random model."""
    side = 1024 if scale == "full" else 64
    turbo = (
        {"shift": 3.0, "use_dynamic_shifting": False}
        if name == "z-image"
        # 1, .9, .75, .5 at four steps whatever the size, as the turbo LoRA wants it
        else {"shift": 3.0, "use_dynamic_shifting": False, "shift_terminal": 0.0}
    )
    table = {
        "family": name, "path": PATH + name, "pool": "bench", "default_steps": 4, "max_steps": 8,
        "true_cfg_scale": 1.0, "default_width": side, "default_height": side, "max_width": 2 * side,
        "max_height": 2 * side, "batch_max": 4, "scheduler": turbo, "compile": compile, "cost_ms": 1000,
    }  # fmt: skip
    return ModelSpec.from_table(name, table)


def build_pipeline(name: str, scale: str, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The family's pipeline on `device`, every weight drawn there."""
    configs = CONFIGS[f"{name}/{scale}"]
    torch.manual_seed(0)
    tokenizer = Qwen2Tokenizer.from_pretrained(ROOT / "generation/engine/demo/checkpoint/tokenizer")
    with made_on(device, dtype):
        pipe = (_build_qwen_image if name == "qwen-image" else _build_z_image)(configs, tokenizer)
    for part in (pipe.transformer, pipe.text_encoder, pipe.vae):
        part.to(dtype).eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _build_qwen_image(configs: dict[str, dict[str, Any]], tokenizer: Any) -> QwenImagePipeline:
    text = Qwen2_5_VLConfig(text_config=configs["text"], vision_config=configs["vision"])
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=AutoencoderKLQwenImage(**configs["vae"]),
        text_encoder=Qwen2_5_VLForConditionalGeneration(text),
        tokenizer=tokenizer,
        transformer=QwenImageTransformer2DModel(**configs["transformer"]),
    )


def _build_z_image(configs: dict[str, dict[str, Any]], tokenizer: Any) -> ZImagePipeline:
    tokenizer.chat_template = _CHAT
    transformer = ZImageTransformer2DModel(**configs["transformer"])
    with torch.no_grad():
        transformer.x_pad_token.normal_()  # the class leaves them as the memory was
        transformer.cap_pad_token.normal_()
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=16,
        scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False, **configs["vae"],
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=Qwen3Model(Qwen3Config(**configs["text"])),
        tokenizer=tokenizer,
        transformer=transformer,
    )


@contextmanager
def made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Parameters made inside are on `device` and of `dtype` from the beginning: 40 GB fit no other place."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
