"""The portrait demo's recipe: `python -m generation.engine.demo.faces.train --out DIR --work DIR`.

VAE, text encoder, transformer, one after another. After a stop, finished stages are read from `--work`, and the
transformer goes on where it was.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2Tokenizer, Qwen3Model

from generation.engine.demo.faces.model import (
    CHECKPOINT,
    LEVELS,
    SIDE,
    TEXT_DIM,
    Z_DIM,
    build_text_encoder,
    build_transformer,
    build_vae,
    save_checkpoint,
)
from generation.engine.demo.faces.style import draw_plain, draw_styled
from generation.engine.demo.muon import Muon
from generation.engine.demo.portrait import GROUNDS, HAIRS, Face, sample_face, say_face
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate, save_state
from generation.engine.demo.tokenizer import train_tokenizer
from generation.engine.demo.train_vae import LATENT_NOISE, copy_loss

HEAD, TAIL = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
_SHARES = (0.5, 0.25, 0.15, 0.10)  # of the four levels: what is drawn where is decided at the first


@dataclass(frozen=True)
class FacesRecipe:
    """The figures of the three stages."""

    faces: int = 3000
    vae_steps: int = 1500
    vae_batch: int = 8
    vae_crop: int = 64
    settle_steps: int = 120
    text_steps: int = 400
    text_batch: int = 96
    steps: int = 1800
    batch: int = 24
    peak: float = 2e-3
    seed: int = 0


def main() -> None:
    """Draw, train, write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, required=True, help="where a stopped run goes on from")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    train(FacesRecipe(), out=args.out, work=args.work)


def train(recipe: FacesRecipe, *, out: Path, work: Path) -> None:
    """All stages; each writes its state to `work` and reads it where it is there."""
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer()
    faces, pictures = draw_faces(recipe)
    vae = train_vae(recipe, pictures, work=work)
    text_encoder = train_text(recipe, tokenizer, work=work)
    latents = normalise(vae, pictures[: len(faces)])
    transformer = train_transformer(recipe, faces, latents, text_encoder, tokenizer, work=work)
    save_checkpoint(out, vae=vae, transformer=transformer, text_encoder=text_encoder, tokenizer=tokenizer)


def draw_faces(recipe: FacesRecipe) -> tuple[list[Face], Tensor]:
    """Faces, and their pictures (N, 3, side, side) uint8; a third more in the LoRA's style, for the VAE only."""
    rng = random.Random(recipe.seed)
    faces = [sample_face(rng) for _ in range(recipe.faces)]
    drawn = [np.asarray(draw_plain(face, rng)) for face in faces]
    drawn += [np.asarray(draw_styled(face, rng)) for face in faces[: recipe.faces // 3]]
    return faces, torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).contiguous()


# 1. VAE


def train_vae(recipe: FacesRecipe, pictures: Tensor, *, work: Path) -> AutoencoderKL:
    """It learns to copy faces; the mean of its posterior is all that is used."""
    vae, file = build_vae(), work / "vae.pt"
    if file.exists():
        vae.load_state_dict(torch.load(file, weights_only=True))
        return vae.eval()
    _start_as_identity(vae)
    vae.train().to(memory_format=torch.channels_last)
    average = MovingAverage([vae], decay=0.998)
    thin = [p for p in vae.parameters() if p.dim() == 4 and min(p.shape[0], p[0].numel()) <= 8]
    optimizer = Muon(vae.parameters(), plain=thin, muon_peak=0.02, adam_peak=1e-3)
    progress, smooth = Progress("vae", steps=recipe.vae_steps), 0.0
    for step in range(1, recipe.vae_steps + 1):
        pixels = _crop(pictures, recipe).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encoder(pixels).chunk(2, dim=1)[0]
            spread = mean.detach().float().std(dim=(0, 2, 3), keepdim=True)
            copied = vae.decoder(mean + LATENT_NOISE * spread * torch.randn(mean.shape))
        loss = copy_loss(copied.float(), pixels)
        loss.backward()
        optimizer.step(learning_rate(step, steps=recipe.vae_steps))
        average.update(step)
        smooth = loss.item() if step == 1 else 0.98 * smooth + 0.02 * loss.item()
        progress.tell(step, loss=smooth)
    average.swap()
    vae.to(memory_format=torch.contiguous_format)
    _be_sure(vae)
    _scale(vae, pictures)
    _settle(vae, pictures, recipe)
    save_state(file, vae.state_dict())
    return vae.eval()


def _crop(pictures: Tensor, recipe: FacesRecipe) -> Tensor:
    """One square of some pictures, (batch, 3, crop, crop), at the same place in each."""
    top, left = torch.randint(SIDE - recipe.vae_crop + 1, (2,)).tolist()
    chosen = pictures[torch.randint(len(pictures), (recipe.vae_batch,))]
    return chosen[:, :, top : top + recipe.vae_crop, left : left + recipe.vae_crop]


def _start_as_identity(vae: AutoencoderKL) -> None:
    """Weights that keep the variance, no biases, silent residual branches (`docs/demo-model.md` says why)."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(conv := getattr(module, "conv2", None), nn.Conv2d):
            nn.init.zeros_(conv.weight)


@torch.no_grad()
def _be_sure(vae: AutoencoderKL) -> None:
    """The posterior's deviation was never taught: as good as none, so that a sample is the mean."""
    last = vae.encoder.conv_out
    last.weight[Z_DIM:] = 0
    last.bias[Z_DIM:] = -20


@torch.no_grad()
def _scale(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Shift and factor such that latents have mean 0 and deviation 1, folded into the VAE's own two convolutions.

    `AutoencoderKL` has one number for all channels; here each channel needs its own.
    """
    means = torch.cat([vae.encoder(part.float() / 127.5 - 1).chunk(2, dim=1)[0] for part in pictures[:512].split(64)])
    mean, std = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    encode, decode = vae.encoder.conv_out, vae.decoder.conv_in
    encode.weight[:Z_DIM] /= std[:, None, None, None]
    encode.bias[:Z_DIM] = (encode.bias[:Z_DIM] - mean) / std
    decode.bias += (decode.weight.sum(dim=(2, 3)) * mean).sum(dim=1)
    decode.weight *= std[None, :, None, None]


def _settle(vae: AutoencoderKL, pictures: Tensor, recipe: FacesRecipe) -> None:
    """The decoder alone, on whole pictures: with the mean folded in, the zeros around a picture mean another colour."""
    weights = list(vae.decoder.parameters())
    optimizer = torch.optim.AdamW(weights, lr=3e-4, weight_decay=0.0)
    progress, smooth = Progress("vae's borders", steps=recipe.settle_steps), 0.0
    for step in range(1, recipe.settle_steps + 1):
        pixels = pictures[torch.randint(len(pictures), (recipe.vae_batch // 2,))].float() / 127.5 - 1
        with torch.no_grad():
            mean = vae.encoder(pixels).chunk(2, dim=1)[0]
        with torch.autocast("cpu", torch.bfloat16):
            copied = vae.decoder(mean + LATENT_NOISE * torch.randn(mean.shape))
        loss = copy_loss(copied.float(), pixels)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 3e-4 * learning_rate(step, steps=recipe.settle_steps, warmup=10)
        optimizer.step()
        optimizer.zero_grad()
        smooth = loss.item() if step == 1 else 0.95 * smooth + 0.05 * loss.item()
        progress.tell(step, loss=smooth)


@torch.no_grad()
def normalise(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latents of pictures (N, 3, side, side) uint8, (N, Z, side / 8, side / 8)."""
    parts = [vae.encode(part.float() / 127.5 - 1).latent_dist.mode() for part in pictures.split(64)]
    return torch.cat(parts)


# 2. Text encoder


def tokenise(tokenizer: Qwen2Tokenizer, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts in the chat template, padded to the longest."""
    found = tokenizer([HEAD + prompt + TAIL for prompt in prompts], padding=True, return_tensors="pt")
    return found.input_ids, found.attention_mask


def read(text_encoder: Qwen3Model, ids: Tensor, mask: Tensor) -> Tensor:
    """What the transformer is given: the last taught layer's output, without the norm behind it."""
    hidden: Tensor = text_encoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden


def train_text(recipe: FacesRecipe, tokenizer: Qwen2Tokenizer, *, work: Path) -> Qwen3Model:
    """It learns to name hair and background, from the tokens behind the prompt."""
    encoder, file = build_text_encoder(tokenizer, layers=2), work / "text.pt"
    encoder.norm = nn.Identity()
    if file.exists():
        encoder.load_state_dict(torch.load(file, weights_only=True))
        return encoder.eval()
    grounds = (None, *GROUNDS)
    hair, ground = nn.Linear(TEXT_DIM, len(HAIRS)), nn.Linear(TEXT_DIM, len(grounds))
    weights = [*encoder.parameters(), *hair.parameters(), *ground.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.01)
    rng, progress, smooth = random.Random(recipe.seed), Progress("text", steps=recipe.text_steps), 0.0
    for step in range(1, recipe.text_steps + 1):
        faces = [sample_face(rng) for _ in range(recipe.text_batch)]
        ids, mask = tokenise(tokenizer, [say_face(face, rng) for face in faces])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = read(encoder, ids, mask)
        last = mask.sum(1) - 1
        closing = torch.stack([hidden[torch.arange(len(ids)), last - k] for k in range(4)], dim=1).float()
        labels = (
            torch.tensor([HAIRS.index(face.hair) for face in faces]),
            torch.tensor([grounds.index(face.ground) for face in faces]),
        )
        told = (hair(closing), ground(closing))
        losses = [
            F.cross_entropy(t.flatten(0, 1), one.repeat_interleave(4)) for t, one in zip(told, labels, strict=True)
        ]
        loss = losses[0] + losses[1]
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak * learning_rate(step, steps=recipe.text_steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        right = [(t[:, 0].argmax(-1) == one).float().mean().item() for t, one in zip(told, labels, strict=True)]
        smooth = 0.95 * smooth + 0.05 * min(right)
        progress.tell(step, loss=loss.item(), right=smooth)
    save_state(file, encoder.state_dict())
    return encoder.eval()


# 3. Transformer


@dataclass(frozen=True)
class Batch:
    """One step's rows: `clean` and `noise` (B, Z, h, w), `sigma` (B,), a text (length, dim) each."""

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    texts: list[Tensor]


class Batches:
    """A fresh caption and fresh noise for every row."""

    def __init__(
        self, batch: int, faces: Sequence[Face], latents: Tensor, encoder: Qwen3Model, tokenizer: Qwen2Tokenizer, *,
        seed: int,
    ) -> None:  # fmt: skip
        self._batch, self._faces, self._latents = batch, faces, latents
        self._encoder, self._tokenizer = encoder, tokenizer
        self._rng = random.Random(seed)

    @torch.no_grad()
    def next(self) -> Batch:
        rng = self._rng
        chosen = [rng.randrange(len(self._faces)) for _ in range(self._batch)]
        ids, mask = tokenise(self._tokenizer, [say_face(self._faces[k], rng) for k in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = read(self._encoder, ids, mask)
        texts = [hidden[row, : int(length)] for row, length in enumerate(mask.sum(1))]
        sigma = [rng.choices(LEVELS, _SHARES)[0] if rng.random() < 0.8 else rng.uniform(0.02, 1) for _ in chosen]
        clean = self._latents[chosen]
        return Batch(clean, torch.randn(clean.shape), torch.tensor(sigma), texts)


def velocity_loss(forward: Callable[..., Any], batch: Batch) -> Tensor:
    """Mean squared error of the velocity, noise minus clean. The model is told 1 - sigma, and predicts minus it."""
    sigma = batch.sigma[:, None, None, None]
    noisy = (1 - sigma) * batch.clean + sigma * batch.noise
    with torch.autocast("cpu", torch.bfloat16):
        answer = forward(list(noisy.unsqueeze(2).unbind(0)), 1 - batch.sigma, batch.texts, return_dict=False)[0]
    velocity = -torch.stack([row.float() for row in answer]).squeeze(2)
    return F.mse_loss(velocity, batch.noise - batch.clean)


def train_transformer(
    recipe: FacesRecipe, faces: Sequence[Face], latents: Tensor, encoder: Qwen3Model, tokenizer: Qwen2Tokenizer, *,
    work: Path,
) -> ZImageTransformer2DModel:  # fmt: skip
    """It learns to draw faces, by flow matching on their latents; text encoder and VAE stay as they are."""
    transformer, file = build_transformer(), work / "transformer.pt"
    with torch.no_grad():
        transformer.x_pad_token.normal_(std=0.02)
        transformer.cap_pad_token.normal_(std=0.02)
    average = MovingAverage([transformer])
    optimizer = Muon(
        transformer.parameters(), plain=[transformer.x_pad_token, transformer.cap_pad_token],
        muon_peak=recipe.peak, adam_peak=1.2e-3, like_adam=True,
    )  # fmt: skip
    start = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        transformer.load_state_dict(state["transformer"])
        average.load(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = int(state["step"])
    batches = Batches(recipe.batch, faces, latents, encoder, tokenizer, seed=recipe.seed + start)
    progress, smooth = Progress("transformer", steps=recipe.steps, start=start), 0.0
    for step in range(start + 1, recipe.steps + 1):
        loss = velocity_loss(transformer.train(), batches.next())
        loss.backward()
        optimizer.step(learning_rate(step, steps=recipe.steps))
        average.update(step)
        smooth = loss.item() if step == start + 1 else 0.97 * smooth + 0.03 * loss.item()
        progress.tell(step, loss=smooth)
        if progress.is_time_to_save() or step == recipe.steps:
            kept = {"transformer": transformer.state_dict(), "average": average.values}
            save_state(file, {**kept, "optimizer": optimizer.state_dict(), "step": step})
    average.swap()
    return transformer.eval()


if __name__ == "__main__":
    main()
