"""Tiny checkpoints of the true classes of Z-Image and Qwen-Image 2.1, with random weights and a real tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from engine_tiny import TEXT_DIM, make_tokenizer
from transformers import Qwen3Config, Qwen3Model, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from generation.engine.catalog import ModelSpec

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FOUR = [  # prompts of different length, two of them over one rung of 32 tokens
    "a red circle",
    "a small blue star on a yellow background, on the left, at night",
    "一个红色的圆",
    "two trees and a tiny house in the snow under a large green sunset with a boat far away on the sea " * 3,
]
_TEXT = {
    "hidden_size": TEXT_DIM, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 2048,
}  # fmt: skip


def spread(*modules: torch.nn.Module) -> None:
    """Larger weights, so that prompts and steps change the picture."""
    for module in modules:
        with torch.no_grad():
            for name, weight in module.named_parameters():
                if name.endswith("weight") and weight.ndim > 1:
                    weight.mul_(1.7)


def make_z_image(seed: int = 0) -> ZImagePipeline:
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=TEXT_DIM,
        axes_dims=[4, 6, 6], axes_lens=[640, 32, 32],
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, latent_channels=16, norm_num_groups=4,
        scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
        mid_block_add_attention=False,
    )  # fmt: skip
    spread(transformer, vae.decoder)
    with torch.no_grad():
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=Qwen3Model(Qwen3Config(vocab_size=len(tokenizer), pad_token_id=0, **_TEXT)),
        tokenizer=tokenizer,
        transformer=transformer,
    ).to(torch.bfloat16)


class Processor:
    """The text half of `Qwen3VLProcessor`, which needs torchvision: its tokenizer is asked with the same arguments."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, *, text: list[str], **kwargs: Any) -> Any:
        return self.tokenizer(text, **kwargs)

    def apply_chat_template(self, messages: Any, **kwargs: Any) -> Any:
        return [self.tokenizer.apply_chat_template(messages, **kwargs)]


def save_qwen_image_21(folder: Path, *, seed: int = 0, sample_sigmas: list[float] | None = None) -> Path:
    """Write the parts as `save_pretrained` would, the processor's text half only."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    transformer = QwenImage21Transformer2DModel(
        in_channels=16, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        context_in_dim=TEXT_DIM, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage21(
        base_dim=8, decoder_base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2, 2], num_res_blocks=1,
        latents_mean=[0.1 * index for index in range(16)], latents_std=[1 + 0.1 * index for index in range(16)],
    )  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={"vocab_size": len(tokenizer), "pad_token_id": 0, "rope_parameters": rope, **_TEXT},
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 1, "out_hidden_size": TEXT_DIM,
            "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    spread(transformer, vae.decoder)
    text_encoder = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():  # a final norm of ones would hide whether it is skipped
        text_encoder.model.language_model.norm.weight.uniform_(0.5, 2)
    for name, part in (("transformer", transformer), ("vae", vae), ("text_encoder", text_encoder)):
        part.to(torch.bfloat16).save_pretrained(folder / name)
    FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=sample_sigmas is None, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192
    ).save_pretrained(folder / "scheduler")
    tokenizer.save_pretrained(folder / "processor")
    index: dict[str, Any] = {
        "_class_name": "QwenImage21Pipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3VLForConditionalGeneration"],
        "processor": ["transformers", "Qwen3VLProcessor"],
        "transformer": ["diffusers", "QwenImage21Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage21"],
    }
    if sample_sigmas is not None:
        index["sample_sigmas"] = sample_sigmas
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def load_qwen_image_21(folder: Path, dtype: torch.dtype) -> QwenImage21Pipeline:
    """The plain pipeline with weights of its own."""
    from transformers import Qwen2Tokenizer

    index = json.loads((folder / "model_index.json").read_text())
    pipe = QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        vae=AutoencoderKLQwenImage21.from_pretrained(folder / "vae", dtype=dtype),
        text_encoder=Qwen3VLForConditionalGeneration.from_pretrained(folder / "text_encoder", dtype=dtype),
        processor=Processor(Qwen2Tokenizer.from_pretrained(folder / "processor")),
        transformer=QwenImage21Transformer2DModel.from_pretrained(folder / "transformer", dtype=dtype),
        sample_sigmas=index.get("sample_sigmas"),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_spec(folder: Path, family: str, **changes: Any) -> ModelSpec:
    table = {
        "family": family, "path": str(folder), "default_steps": 4, "true_cfg_scale": 1.0, "default_width": 64,
        "default_height": 64, "max_width": 128, "max_height": 128, "batch_max": 8,
    }  # fmt: skip
    return ModelSpec.from_table("tiny", {**table, **changes})


def psnr(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Peak signal to noise in dB, the peak being the largest value of `theirs`."""
    ours, theirs = ours.detach().float(), theirs.detach().float()
    error = (ours - theirs).pow(2).mean()
    return float(10 * torch.log10(theirs.abs().max() ** 2 / error.clamp(min=1e-20)))
