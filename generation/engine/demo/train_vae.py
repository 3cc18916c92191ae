"""Stage 1: the VAE learns to copy 128 px crops of drawings, as a 2-D network (see flat.py)."""

import random
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn
from torch.nn import functional as F

from generation.engine.demo.draw import draw
from generation.engine.demo.flat import FlatAttention, FlatVae, write_back
from generation.engine.demo.model import build_vae
from generation.engine.demo.muon import Muon
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate, save_state
from generation.engine.demo.specs import sample_training_spec

LATENT_NOISE = 0.1
"""Noise on the latents while training, in shares of each channel's deviation: the decoder forgives small errors."""


@dataclass(frozen=True)
class VaeRecipe:
    """The figures of stage 1."""

    steps: int = 3800
    batch: int = 8
    crop: int = 128
    pool: int = 3000
    muon_peak: float = 0.02
    adam_peak: float = 1e-3
    seed: int = 0


def train_vae(recipe: VaeRecipe, *, work: Path, device: torch.device) -> AutoencoderKLQwenImage:
    """Train, or resume from `work`/vae.pt; returns the 3-D VAE with averaged weights (float32, CPU)."""
    torch.manual_seed(recipe.seed)
    vae = build_vae()
    flat = FlatVae(vae)
    _start_as_identity(flat)
    flat.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    average = MovingAverage([flat], decay=0.998)
    # Kernels at the pixels' end have too few inputs or outputs to be made orthogonal.
    thin = [p for p in flat.parameters() if p.dim() == 4 and min(p.shape[0], p[0].numel()) <= 8]
    optimizer = Muon(flat.parameters(), plain=thin, muon_peak=recipe.muon_peak, adam_peak=recipe.adam_peak)
    start = _resume(work / "vae.pt", flat, average, optimizer, steps=recipe.steps)
    if start < recipe.steps:
        _run(recipe, start, flat, average, optimizer, work=work, device=device)
    average.swap()
    flat.cpu()
    write_back(flat, vae)
    return vae.eval()


def _start_as_identity(flat: FlatVae) -> None:
    """Weights that keep the variance, no biases, silent residual branches.

    With torch's own start every layer shrinks the signal and adds a bias; the norms then show the decoder nothing but
    biases, and it paints the mean for ever.
    """
    for module in flat.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in flat.modules():
        if isinstance(conv := getattr(module, "conv2", None), nn.Conv2d):
            nn.init.zeros_(conv.weight)
    for module in flat.modules():
        if isinstance(module, FlatAttention):
            nn.init.zeros_(module.proj.weight)


def _resume(path: Path, flat: FlatVae, average: MovingAverage, optimizer: Muon, *, steps: int) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    flat.load_state_dict(state["flat"])
    average.load(state["average"])
    if state["step"] < steps:
        optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _run(
    recipe: VaeRecipe,
    start: int,
    flat: FlatVae,
    average: MovingAverage,
    optimizer: Muon,
    *,
    work: Path,
    device: torch.device,
) -> None:
    # Not compiled: under torch.compile (2.13, CPU) this very loop stood at a loss of 0.26 and learnt no shapes.
    pool = draw_pool(recipe.pool, seed=recipe.seed)
    rng = np.random.default_rng(recipe.seed + start)

    def loss_of(pixels: Tensor, noise: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            latents = flat.encode(pixels)
            spread = latents.detach().float().std(dim=(0, 2, 3), keepdim=True)
            copied = flat.decode(latents + LATENT_NOISE * spread * noise)
        return copy_loss(copied.float(), pixels)

    progress = Progress("vae", steps=recipe.steps, start=start)
    smooth = 0.0
    for step in range(start + 1, recipe.steps + 1):
        pixels = torch.from_numpy(_crops(pool, recipe, rng)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        noise = torch.randn(recipe.batch, flat.z_dim, recipe.crop // 16, recipe.crop // 16, device=device)
        loss = loss_of(pixels, noise)
        loss.backward()
        optimizer.step(learning_rate(step, steps=recipe.steps))
        average.update(step)
        smooth = loss.item() if step == start + 1 else 0.98 * smooth + 0.02 * loss.item()
        progress.tell(step, loss=smooth)
        if progress.is_time_to_save() or step == recipe.steps:
            state = {"flat": flat.state_dict(), "average": average.values, "optimizer": optimizer.state_dict()}
            save_state(work / "vae.pt", {**state, "step": step})


def copy_loss(copied: Tensor, pixels: Tensor) -> Tensor:
    """L1 + MSE of the pixels, and L1 of their differences to the neighbours, which keeps edges sharp."""
    error = copied - pixels
    down, right = error[:, :, 1:] - error[:, :, :-1], error[:, :, :, 1:] - error[:, :, :, :-1]
    return error.abs().mean() + F.mse_loss(copied, pixels) + 0.5 * (down.abs().mean() + right.abs().mean())


def _crops(pool: np.ndarray, recipe: VaeRecipe, rng: np.random.Generator) -> np.ndarray:
    """(batch, crop, crop, 3) uint8. Of two random crops the busier one: flat ground teaches little."""
    out = np.empty((recipe.batch, recipe.crop, recipe.crop, 3), np.uint8)
    for row in range(recipe.batch):
        picture = pool[rng.integers(len(pool))]
        choices = []
        for _ in range(2):
            top, left = rng.integers(0, 256 - recipe.crop + 1, 2)
            choices.append(picture[top : top + recipe.crop, left : left + recipe.crop])
        crop = max(choices, key=lambda c: float(c[::4, ::4].std()))
        out[row] = crop[:, ::-1] if rng.random() < 0.3 else crop
    return out


def draw_pool(count: int, *, seed: int) -> np.ndarray:
    """`count` training drawings, (count, 256, 256, 3) uint8, drawn by two processes."""
    with get_context("spawn").Pool(2) as workers:
        parts = workers.map(_draw_part, [(seed * 1000 + k, 50) for k in range((count + 49) // 50)])
    return np.concatenate(parts)[:count]


def _draw_part(job: tuple[int, int]) -> np.ndarray:
    seed, count = job
    rng = random.Random(seed)
    return np.stack([np.asarray(draw(sample_training_spec(rng), rng=rng)) for _ in range(count)])
