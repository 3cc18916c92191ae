"""A tiny checkpoint of the true classes with random weights, rows and hooks for the engine's tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from generation.engine.catalog import ModelSpec
from generation.engine.prompts import TEMPLATE
from generation.engine.request import PassRow

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEXT_DIM = 32

PROMPTS = [
    "a red circle",
    "a small blue star on a yellow background, on the left, at night",
    "a white house on the left of a meadow at night",
    "boat",
    "two trees and a tiny house in the snow under a large green sunset with a boat far away on the sea",
    "一个红色的圆",
    "a circle " * 12,
    "x",
]


def make_tokenizer(template: str = TEMPLATE, *, vocab_size: int = 460) -> Qwen2Tokenizer:
    """A byte-level BPE that makes exactly as many tokens of the template as the pipeline drops (34 of Qwen-Image's)."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    plain = template
    for token in SPECIAL:
        plain = plain.replace(token, "\n\n")
    backend.train_from_iterator([plain] * 50 + PROMPTS[:2], trainer)
    model = json.loads(backend.to_str())["model"]
    vocab = dict(model["vocab"])
    for token in SPECIAL:
        vocab[token] = len(vocab)
    return Qwen2Tokenizer(
        vocab=vocab, merges=[tuple(pair) for pair in model["merges"]], extra_special_tokens=SPECIAL[1:]
    )


def make_pipeline(seed: int = 0) -> QwenImagePipeline:
    """Random weights, large enough in spread that prompts and steps change the picture."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    text = {
        "vocab_size": len(tokenizer), "hidden_size": TEXT_DIM, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "tie_word_embeddings": True,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 1, "out_hidden_size": TEXT_DIM,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
    transformer = QwenImageTransformer2DModel(
        in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=TEXT_DIM, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1)
    for module in (transformer, vae.decoder):
        with torch.no_grad():
            for name, weight in module.named_parameters():
                if name.endswith("weight") and weight.ndim > 1:
                    weight.mul_(1.7)
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        transformer=transformer,
    ).to(torch.bfloat16)


def make_spec(folder: Path, **changes: Any) -> ModelSpec:
    table = {
        "family": "qwen-image", "path": str(folder), "default_steps": 4, "true_cfg_scale": 1.0, "default_width": 64,
        "default_height": 64, "max_width": 128, "max_height": 128, "batch_max": 8,
    }  # fmt: skip
    return ModelSpec.from_table("tiny", {**table, **changes})


def make_row(key: str = "a", **changes: Any) -> PassRow:
    base = PassRow(key=key, prompt="a red circle", width=64, height=64, num_inference_steps=4, seed=1)
    return dataclasses.replace(base, **changes)


def make_rows(**changes: Any) -> list[PassRow]:
    """Eight rows with prompts of different length, each with its own seed."""
    return [make_row(f"row{i}", prompt=prompt, seed=100 + i, **changes) for i, prompt in enumerate(PROMPTS)]


class Silent:
    """Hooks that only listen."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, dict[str, Any]]] = []
        self.steps: list[tuple[int, int, dict[str, bytes]]] = []

    def phase(self, name: str, detail: Any) -> None:
        self.phases.append((name, dict(detail)))

    def step(self, step: int, steps: int, previews: Any) -> None:
        self.steps.append((step, steps, dict(previews)))

    def cancelled(self) -> set[str]:
        return set()

    def stop(self) -> bool:
        return False
