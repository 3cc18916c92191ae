"""The cache of stage 3: drawings of training specs as latents, so that the transformer pays for neither again."""

import random
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generation.engine.demo.draw import draw
from generation.engine.demo.flat import FlatVae
from generation.engine.demo.progress import Progress, save_state
from generation.engine.demo.specs import Scene, Shape, Spec, sample_training_spec

PART = 48
"""Drawings per job and per encoder batch."""


@dataclass(frozen=True)
class Pool:
    """Drawings of one size: `latents` (N, z_dim, H / 16, W / 16) bfloat16, not yet normalised, and their specs."""

    width: int
    height: int
    latents: Tensor
    specs: list[Spec]


def load_pool(
    flat: FlatVae, *, width: int, height: int, count: int, seed: int, work: Path, device: torch.device
) -> Pool:
    """Draw and encode `count` training specs, or read them from `work` where an earlier run left them."""
    path = work / f"latents-{width}x{height}-{count}.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        specs = [_revive(kind, values) for kind, values in state["specs"]]
        return Pool(width, height, state["latents"], specs)
    specs, parts = [], []
    jobs = [(seed * 1_000_003 + k, width, height) for k in range(-(-count // PART))]
    progress = Progress(f"latents {width}x{height}", steps=len(jobs), every=10)
    with get_context("spawn").Pool(2) as workers:
        for done, (drawn, pixels) in enumerate(workers.imap(_draw_part, jobs), start=1):
            specs.extend(drawn)
            parts.append(encode_pictures(flat, pixels, device))
            progress.tell(done)
    latents = torch.cat(parts)
    save_state(path, {"latents": latents, "specs": [(type(s).__name__, list(vars(s).values())) for s in specs]})
    return Pool(width, height, latents, specs)


def _revive(kind: str, values: list[str]) -> Spec:
    return Shape(*values) if kind == "Shape" else Scene(*values)


def _draw_part(job: tuple[int, int, int]) -> tuple[list[Spec], np.ndarray]:
    seed, width, height = job
    rng = random.Random(seed)
    specs = [sample_training_spec(rng) for _ in range(PART)]
    return specs, np.stack([np.asarray(draw(spec, width=width, height=height, rng=rng)) for spec in specs])


@torch.no_grad()
def encode_pictures(flat: FlatVae, pixels: np.ndarray, device: torch.device) -> Tensor:
    """(N, H, W, 3) bytes to latents (N, z_dim, H / 16, W / 16) in BF16, not yet normalised."""
    # On a CPU a few pictures at a time: their feature maps then stay in its cache.
    rows = 2 if device.type == "cpu" else PART
    return torch.cat([_encode_rows(flat, pixels[k : k + rows], device) for k in range(0, len(pixels), rows)])


def _encode_rows(flat: FlatVae, pixels: np.ndarray, device: torch.device) -> Tensor:
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.autocast(device.type, torch.bfloat16):
        return flat.encode(x.contiguous(memory_format=torch.channels_last)).to("cpu", torch.bfloat16).contiguous()
