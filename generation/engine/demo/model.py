"""The parts of the demo checkpoint: the true Qwen-Image classes, small."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

Z_DIM = 32
TEXT_DIM = 160
HEAD_DIM = 32
CHECKPOINT = Path(__file__).parent / "checkpoint"


def build_vae() -> AutoencoderKLQwenImage:
    """16x compression, so that 256 px are 64 tokens of the transformer: a quarter of what 8x would cost."""
    return AutoencoderKLQwenImage(
        base_dim=16,
        z_dim=Z_DIM,
        dim_mult=[1, 2, 4, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False] * 4,
        latents_mean=[0.0] * Z_DIM,
        latents_std=[1.0] * Z_DIM,
    )


def build_transformer() -> QwenImageTransformer2DModel:
    """6 layers of 5 heads; one token is 2 x 2 latents, 32 x 32 pixels."""
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * Z_DIM,
        out_channels=Z_DIM,
        num_layers=6,
        attention_head_dim=HEAD_DIM,
        num_attention_heads=5,
        joint_attention_dim=TEXT_DIM,
        axes_dims_rope=(8, 12, 12),
    )


def build_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """Two layers of Qwen2.5-VL; its vision tower is there because the class wants one, as small as it may be."""
    vocabulary = -(-len(tokenizer) // 16) * 16
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_start", "im_end", "endoftext")}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": TEXT_DIM,
            "intermediate_size": 448,
            "num_hidden_layers": 2,
            "num_attention_heads": TEXT_DIM // HEAD_DIM,
            "num_key_value_heads": TEXT_DIM // HEAD_DIM,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "bos_token_id": ids["im_start"],
            "eos_token_id": ids["im_end"],
            "pad_token_id": ids["endoftext"],
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": TEXT_DIM,
            "fullatt_block_indexes": [0],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Static shift 1: four steps are sigma 1, 0.75, 0.5, 0.25, 0."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False)


def save_checkpoint(
    folder: Path,
    *,
    vae: AutoencoderKLQwenImage,
    transformer: QwenImageTransformer2DModel,
    text_encoder: Qwen2_5_VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
) -> None:
    """Write the parts as one `QwenImagePipeline` folder in bfloat16 safetensors; converts them in place."""
    pipe = QwenImagePipeline(
        scheduler=build_scheduler(),
        vae=vae.to(torch.bfloat16),
        text_encoder=text_encoder.to(torch.bfloat16),
        tokenizer=tokenizer,
        transformer=transformer.to(torch.bfloat16),
    )
    pipe.save_pretrained(folder, safe_serialization=True)


def load_pipeline(folder: Path = CHECKPOINT, *, dtype: torch.dtype = torch.bfloat16) -> QwenImagePipeline:
    """The checkpoint in `folder` as the plain pipeline that anybody would load."""
    pipe: QwenImagePipeline = QwenImagePipeline.from_pretrained(folder, dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe
