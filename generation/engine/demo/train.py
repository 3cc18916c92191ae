"""The whole recipe: `python -m generation.engine.demo.train --out DIR --work DIR`."""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage

from generation.engine.demo.model import build_vae, save_checkpoint
from generation.engine.demo.tokenizer import check_template, train_tokenizer
from generation.engine.demo.train_text import TextRecipe, train_text
from generation.engine.demo.train_transformer import TransformerRecipe, train_transformer
from generation.engine.demo.train_vae import VaeRecipe, train_vae


def main() -> None:
    """Train stage after stage, resuming from `--work`, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--work", type=Path, required=True, help="folder for the state between runs")
    parser.add_argument("--compile", action="store_true", help="compile the transformer (needs a C++ compiler)")
    parser.add_argument("--vae", type=Path, help="a checkpoint whose VAE is good: leaves stage 1 out")
    parser.add_argument("--vae-steps", type=int, default=VaeRecipe().steps)
    parser.add_argument("--transformer-steps", type=int, default=TransformerRecipe().steps)
    parser.add_argument("--pool", type=int, default=TransformerRecipe().pool, help="drawings of 256 px to learn from")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = train_tokenizer()
    check_template(tokenizer)
    if args.vae:
        good = AutoencoderKLQwenImage.from_pretrained(args.vae, subfolder="vae", dtype=torch.float32)
        vae = build_vae()  # whose config names no folder
        vae.load_state_dict(good.state_dict())
    else:
        vae = train_vae(VaeRecipe(steps=args.vae_steps), work=args.work, device=device)
    recipe = TransformerRecipe(steps=args.transformer_steps, pool=args.pool)
    text_encoder = train_text(TextRecipe(), tokenizer, work=args.work, device=device)
    transformer = train_transformer(
        recipe, vae, text_encoder, tokenizer, work=args.work, device=device, compiled=args.compile
    )
    save_checkpoint(args.out, vae=vae, transformer=transformer, text_encoder=text_encoder.cpu(), tokenizer=tokenizer)


if __name__ == "__main__":
    main()
