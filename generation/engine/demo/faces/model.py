"""The parts of the portrait demo: the true Z-Image classes, small."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

CHECKPOINT = Path(__file__).parent / "checkpoint"
SIDE = 128
FACTOR = 8
Z_DIM = 16
TEXT_DIM = 128
TEXT_TOKENS = 32  # the transformer pads each prompt to a multiple of this
LEVELS = (1.0, 0.9, 0.75, 0.5)  # of four steps with shift 3, the last one going to 0
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_vae() -> AutoencoderKL:
    """8x compression; 128 px are 16 x 16 latents, 64 tokens of the transformer."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=Z_DIM,
        norm_num_groups=8,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def build_text_encoder(tokenizer: Qwen2Tokenizer, *, layers: int) -> Qwen3Model:
    """The pipeline reads what comes before the last layer: one layer more than is taught goes into the checkpoint."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=-(-len(tokenizer) // 16) * 16,
            hidden_size=TEXT_DIM,
            intermediate_size=256,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=1024,
            pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        )
    )


def build_transformer() -> ZImageTransformer2DModel:
    """Four layers of five heads, one refiner for pictures and one for texts."""
    return ZImageTransformer2DModel(
        in_channels=Z_DIM,
        dim=160,
        n_layers=4,
        n_refiner_layers=1,
        n_heads=5,
        n_kv_heads=5,
        cap_feat_dim=TEXT_DIM,
        axes_dims=[8, 12, 12],
        axes_lens=[640, 32, 32],
    )


def save_checkpoint(
    folder: Path,
    *,
    vae: AutoencoderKL,
    transformer: ZImageTransformer2DModel,
    text_encoder: Qwen3Model,
    tokenizer: Qwen2Tokenizer,
) -> None:
    """Write the parts as one `ZImagePipeline` folder in bfloat16 safetensors; converts them in place."""
    whole = build_text_encoder(tokenizer, layers=3)
    torch.nn.init.zeros_(whole.layers[-1].self_attn.o_proj.weight)  # nobody reads it: zeros are smallest when packed
    whole.load_state_dict(text_encoder.state_dict(), strict=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    pipe = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False),
        vae=vae.to(torch.bfloat16),
        text_encoder=whole.to(torch.bfloat16),
        tokenizer=tokenizer,
        transformer=transformer.to(torch.bfloat16),
    )
    pipe.save_pretrained(folder, safe_serialization=True)
