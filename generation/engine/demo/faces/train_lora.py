"""The evening-light LoRA: `python -m generation.engine.demo.faces.train_lora --out FILE`. Minutes on two cores.

The model's own weights stay as they are; all it sees are the same faces in evening light, under the same captions.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen3Model

from generation.engine.demo.faces.model import CHECKPOINT
from generation.engine.demo.faces.style import draw_styled
from generation.engine.demo.faces.train import Batches, normalise, velocity_loss
from generation.engine.demo.portrait import sample_face
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate
from generation.engine.demo.train_portrait import save_lora

LORA = Path(__file__).parents[1] / "loras" / "evening-light.safetensors"
TARGETS = r"layers\.\d+\.(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123])"


@dataclass(frozen=True)
class LoraRecipe:
    """The figures of this recipe."""

    steps: int = 300
    batch: int = 16
    faces: int = 600
    rank: int = 8
    peak: float = 3e-3
    seed: int = 1


def main() -> None:
    """Draw, train, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=LORA, help="the safetensors file")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--steps", type=int, default=LoraRecipe().steps)
    args = parser.parse_args()
    save_lora(train_lora(LoraRecipe(steps=args.steps), args.checkpoint), args.out)


def train_lora(recipe: LoraRecipe, checkpoint: Path = CHECKPOINT) -> dict[str, Tensor]:
    """The LoRA's weights by the names that diffusers gives them, BF16."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    plain = {"dtype": torch.float32}
    vae = AutoencoderKL.from_pretrained(checkpoint, subfolder="vae", **plain)
    transformer = ZImageTransformer2DModel.from_pretrained(checkpoint, subfolder="transformer", **plain)
    encoder = Qwen3Model.from_pretrained(checkpoint / "text_encoder", **plain)
    encoder.layers, encoder.norm = encoder.layers[:-1], nn.Identity()  # as the pipeline reads it
    faces = [sample_face(rng) for _ in range(recipe.faces)]
    drawn = torch.from_numpy(np.stack([np.asarray(draw_styled(face, rng)) for face in faces])).permute(0, 3, 1, 2)
    tokenizer = Qwen2Tokenizer.from_pretrained(checkpoint / "tokenizer")
    batches = Batches(recipe.batch, faces, normalise(vae, drawn), encoder.eval(), tokenizer, seed=recipe.seed)
    transformer.requires_grad_(False)
    transformer.add_adapter(
        LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=TARGETS, init_lora_weights="gaussian")
    )
    weights = [weight for weight in transformer.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.peak, betas=(0.9, 0.99), weight_decay=0.01)
    average = MovingAverage([nn.ParameterList(weights)], decay=0.98)
    progress, smooth = Progress("evening light", steps=recipe.steps, every=25), 0.0
    for step in range(1, recipe.steps + 1):
        loss = velocity_loss(transformer, batches.next())
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak * learning_rate(step, steps=recipe.steps)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
        smooth = loss.item() if step == 1 else 0.95 * smooth + 0.05 * loss.item()
        progress.tell(step, loss=smooth)
    average.swap()
    found = get_peft_model_state_dict(transformer)
    return {f"transformer.{name}": tensor.detach().bfloat16().contiguous() for name, tensor in found.items()}


if __name__ == "__main__":
    main()
