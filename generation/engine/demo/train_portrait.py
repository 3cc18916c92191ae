"""The portrait LoRA: `python -m generation.engine.demo.train_portrait --out FILE`. Minutes on two cores.

The demo's own weights stay as they are. A fifth of what the LoRA sees are the demo's shapes and scenes as it draws
them already, so that it learns faces without forgetting the rest.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from generation.engine.demo.captions import sample_caption
from generation.engine.demo.draw import draw
from generation.engine.demo.fast import RealAttention
from generation.engine.demo.flat import FlatVae
from generation.engine.demo.latents import encode_pictures
from generation.engine.demo.portrait import draw_face, sample_face, say_face
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate
from generation.engine.demo.specs import sample_training_spec
from generation.engine.demo.tokenizer import DROPPED
from generation.engine.demo.train_text import encode, tokenise
from generation.engine.demo.train_transformer import Batch, pack, sample_times, velocity_losses

CHECKPOINT = Path(__file__).parent / "checkpoint"
LORA = Path(__file__).parent / "loras" / "portrait.safetensors"
TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)|(img|txt)_mlp\.net\.(0\.proj|2))"
)
PART = 24


@dataclass(frozen=True)
class PortraitRecipe:
    """The figures of this recipe."""

    steps: int = 500
    batch: int = 32
    faces: int = 768
    others: int = 192
    rank: int = 16
    peak: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class Pictures:
    """Drawings as normalised, packed latents (N, tokens, channels), and a caption for each, made anew each time."""

    latents: Tensor
    captions: Sequence[Callable[[], str]]


def main() -> None:
    """Draw, train, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=LORA, help="the safetensors file")
    parser.add_argument("--steps", type=int, default=PortraitRecipe().steps)
    args = parser.parse_args()
    save_lora(train_portrait(PortraitRecipe(steps=args.steps)), args.out)


def train_portrait(recipe: PortraitRecipe) -> dict[str, Tensor]:
    """The LoRA's weights by the names that diffusers gives them, BF16."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    vae = AutoencoderKLQwenImage.from_pretrained(CHECKPOINT, subfolder="vae", dtype=torch.float32)
    tokenizer = Qwen2Tokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    text_encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(CHECKPOINT / "text_encoder", dtype=torch.float32)
    transformer = QwenImageTransformer2DModel.from_pretrained(CHECKPOINT, subfolder="transformer", dtype=torch.float32)
    pictures = _draw_pictures(recipe, vae, rng)
    transformer.set_attn_processor(RealAttention())
    transformer.requires_grad_(False)
    transformer.add_adapter(
        LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=TARGETS, init_lora_weights="gaussian")
    )
    weights = [weight for weight in transformer.parameters() if weight.requires_grad]
    _run(recipe, transformer, weights, pictures, text_encoder, tokenizer, rng)
    found = get_peft_model_state_dict(transformer)
    return {f"transformer.{name}": tensor.detach().bfloat16().contiguous() for name, tensor in found.items()}


def save_lora(weights: dict[str, Tensor], file: Path) -> None:
    """Write the file; the same weights give the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted(weights.items())), str(file), metadata={"format": "pt"})


def _run(
    recipe: PortraitRecipe, transformer: QwenImageTransformer2DModel, weights: list[torch.nn.Parameter],
    pictures: Pictures, text_encoder: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer,
    rng: random.Random,
) -> None:  # fmt: skip
    optimizer = torch.optim.AdamW(weights, lr=recipe.peak, betas=(0.9, 0.99), weight_decay=0.01)
    average = MovingAverage([torch.nn.ParameterList(weights)], decay=0.98)
    progress = Progress("portrait LoRA", steps=recipe.steps, every=25)
    smooth = 0.0
    for step in range(1, recipe.steps + 1):
        batch = _next_batch(recipe, pictures, text_encoder, tokenizer, rng)
        loss = velocity_losses(transformer, batch).mean()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak * learning_rate(step, steps=recipe.steps)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
        smooth = loss.item() if step == 1 else 0.95 * smooth + 0.05 * loss.item()
        progress.tell(step, loss=smooth)
    average.swap()


def _next_batch(
    recipe: PortraitRecipe, pictures: Pictures, text_encoder: Qwen2_5_VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer, rng: random.Random,
) -> Batch:  # fmt: skip
    chosen = [rng.randrange(len(pictures.captions)) for _ in range(recipe.batch)]
    clean = pictures.latents[chosen]
    ids, mask = tokenise(tokenizer, [pictures.captions[k]() for k in chosen])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeds = encode(text_encoder, ids, mask)
    sigma, timestep = sample_times(rng, rows=recipe.batch, exact_share=0.75)
    noise = torch.randn(clean.shape)
    return Batch(clean, noise, sigma, timestep, embeds, mask[:, DROPPED:], (1, 8, 8))


def _draw_pictures(recipe: PortraitRecipe, vae: AutoencoderKLQwenImage, rng: random.Random) -> Pictures:
    flat = FlatVae(vae).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    flat.eval()
    faces = [sample_face(rng) for _ in range(recipe.faces)]
    others = [sample_training_spec(rng) for _ in range(recipe.others)]
    makers: list[Callable[[], np.ndarray]] = [
        *(lambda face=face: np.asarray(draw_face(face, rng=rng)) for face in faces),
        *(lambda spec=spec: np.asarray(draw(spec, rng=rng)) for spec in others),
    ]
    captions: list[Callable[[], str]] = [
        *(lambda face=face: say_face(face, rng) for face in faces),
        *(lambda spec=spec: sample_caption(spec, rng=rng) for spec in others),
    ]
    progress, parts = Progress("drawings", steps=len(makers), every=PART * 8), []
    for at in range(0, len(makers), PART):
        parts.append(encode_pictures(flat, np.stack([make() for make in makers[at : at + PART]]), torch.device("cpu")))
        progress.tell(min(at + PART, len(makers)))
    mean, std = (torch.tensor(vae.config[name]).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std"))
    return Pictures(pack((torch.cat(parts).float() - mean) / std), captions)


if __name__ == "__main__":
    main()
