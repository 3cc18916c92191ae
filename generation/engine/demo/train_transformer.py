"""Stage 3: the transformer learns to draw, by flow matching on cached latents; the text encoder stays as it is."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from generation.engine.demo.captions import sample_caption
from generation.engine.demo.fast import RealAttention
from generation.engine.demo.flat import FlatVae
from generation.engine.demo.latents import Pool, load_pool
from generation.engine.demo.model import build_transformer
from generation.engine.demo.muon import Muon
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate, save_state
from generation.engine.demo.specs import Spec
from generation.engine.demo.tokenizer import DROPPED
from generation.engine.demo.train_text import encode, tokenise

SIGMAS = (1.0, 0.75, 0.5, 0.25)
SHARES = (0.55, 0.25, 0.12, 0.08)
"""Where four steps of inference look, and how often training does: what is drawn where is decided at the first."""
ROUNDED = 0.75390625
"""What a BF16 pipeline tells the transformer at sigma 0.75: 750 becomes 752, and 0.752 becomes this."""
OTHER_SIZES = ((128, 128), (384, 256), (256, 384), (320, 192), (192, 320), (384, 384))


@dataclass(frozen=True)
class TransformerRecipe:
    """The figures of stage 3."""

    steps: int = 8000
    batch: int = 64
    pool: int = 12096
    other_pool: int = 192
    other_share: float = 0.02
    exact_share: float = 0.75
    peak: float = 2e-3
    adam_peak: float = 1.2e-3
    seed: int = 0


def pack(latents: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H W / 4, 4 C), as `QwenImagePipeline._pack_latents`."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def train_transformer(
    recipe: TransformerRecipe,
    vae: AutoencoderKLQwenImage,
    text_encoder: Qwen2_5_VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    *,
    work: Path,
    device: torch.device,
    compiled: bool,
) -> QwenImageTransformer2DModel:
    """Train, or resume from `work`/transformer.pt. Also writes the latents' mean and deviation into `vae`'s config."""
    torch.manual_seed(recipe.seed)
    pools = _load_pools(recipe, vae, work=work, device=device)
    mean, std = _statistics(pools[0].latents)
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    transformer = build_transformer()
    usual = transformer.attn_processors
    transformer.set_attn_processor(RealAttention())
    transformer.to(device).train()
    average = MovingAverage([transformer])
    optimizer = Muon(
        transformer.parameters(),
        plain=[transformer.proj_out.weight],
        muon_peak=recipe.peak,
        adam_peak=recipe.adam_peak,
        like_adam=True,
    )
    start = _resume(work / "transformer.pt", transformer, average, optimizer)
    batches = Batches(recipe, pools, text_encoder, tokenizer, mean, std, device, seed=recipe.seed + start)
    _run(recipe, start, transformer, average, optimizer, batches, work=work, compiled=compiled)
    average.swap()
    transformer.set_attn_processor(usual)
    return transformer.cpu().eval()


def _load_pools(
    recipe: TransformerRecipe, vae: AutoencoderKLQwenImage, *, work: Path, device: torch.device
) -> list[Pool]:
    flat = FlatVae(vae).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    flat.eval()
    sizes = [(256, 256, recipe.pool), *((w, h, recipe.other_pool) for w, h in OTHER_SIZES)]
    return [
        load_pool(flat, width=w, height=h, count=count, seed=recipe.seed + k, work=work, device=device)
        for k, (w, h, count) in enumerate(sizes)
    ]


def _statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel."""
    x = latents.float()
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))


@dataclass(frozen=True)
class Batch:
    """One step's rows: packed `clean` and `noise` (B, N, 4 C), `sigma` and `timestep` (B,), `embeds` and `mask`."""

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    timestep: Tensor
    embeds: Tensor
    mask: Tensor
    shape: tuple[int, int, int]


class Batches:
    """Draws training batches: one size each, a fresh caption and fresh noise for every row."""

    def __init__(
        self, recipe: TransformerRecipe, pools: list[Pool], text_encoder: Qwen2_5_VLForConditionalGeneration,
        tokenizer: Qwen2Tokenizer, mean: Tensor, std: Tensor, device: torch.device, *, seed: int,
    ) -> None:  # fmt: skip
        self._recipe, self._pools, self._device = recipe, pools, device
        self._text_encoder, self._tokenizer = text_encoder, tokenizer
        self._mean, self._std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
        self._rng = random.Random(seed)

    def next(self) -> Batch:
        rng, recipe = self._rng, self._recipe
        pool = self._pools[0] if rng.random() >= recipe.other_share else rng.choice(self._pools[1:])
        # A larger picture takes fewer rows, so that no step costs more than the usual one.
        rows = min(recipe.batch, recipe.batch * 256 * 256 // (pool.width * pool.height))
        chosen = [rng.randrange(len(pool.specs)) for _ in range(rows)]
        clean = pack((pool.latents[chosen].float() - self._mean) / self._std)
        embeds, mask = self._understand([pool.specs[k] for k in chosen])
        sigma, timestep = sample_times(self._rng, rows=rows, exact_share=recipe.exact_share)
        return Batch(
            clean.to(self._device),
            torch.randn(clean.shape, device=self._device),
            sigma.to(self._device),
            timestep.to(self._device),
            embeds,
            mask,
            (1, pool.height // 32, pool.width // 32),
        )

    @torch.no_grad()
    def _understand(self, drawings: list[Spec]) -> tuple[Tensor, Tensor]:
        captions = [sample_caption(spec, rng=self._rng) for spec in drawings]
        ids, mask = (part.to(self._device) for part in tokenise(self._tokenizer, captions))
        with torch.autocast(self._device.type, torch.bfloat16):
            return encode(self._text_encoder, ids, mask), mask[:, DROPPED:]


def sample_times(rng: random.Random, *, rows: int, exact_share: float) -> tuple[Tensor, Tensor]:
    """Sigmas, a share of them exactly those of four steps, and the times that the transformer is told."""
    sigmas, times = [], []
    for _ in range(rows):
        if rng.random() < exact_share:
            sigma = rng.choices(SIGMAS, SHARES)[0]
            time = ROUNDED if sigma == 0.75 and rng.random() < 0.7 else sigma
        else:
            sigma = time = rng.uniform(0.01, 1.0)
        sigmas.append(sigma)
        times.append(time)
    return torch.tensor(sigmas), torch.tensor(times)


def velocity_losses(forward: Callable[..., tuple[Tensor]], batch: Batch) -> Tensor:
    """Mean squared error of the velocity, noise minus clean (rectified flow, Liu 2022), per row (B,)."""
    sigma = batch.sigma[:, None, None]
    noisy = (1 - sigma) * batch.clean + sigma * batch.noise
    with torch.autocast(batch.clean.device.type, torch.bfloat16):
        velocity = forward(
            hidden_states=noisy.to(torch.bfloat16),
            timestep=batch.timestep,
            encoder_hidden_states=batch.embeds,
            encoder_hidden_states_mask=batch.mask.bool(),
            img_shapes=[[batch.shape]] * len(batch.clean),
            return_dict=False,
        )[0]
    return F.mse_loss(velocity.float(), batch.noise - batch.clean, reduction="none").mean(dim=(1, 2))


def _resume(path: Path, transformer: QwenImageTransformer2DModel, average: MovingAverage, optimizer: Muon) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    transformer.load_state_dict(state["transformer"])
    average.load(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _run(
    recipe: TransformerRecipe,
    start: int,
    transformer: QwenImageTransformer2DModel,
    average: MovingAverage,
    optimizer: Muon,
    batches: Batches,
    *,
    work: Path,
    compiled: bool,
) -> None:
    fast = torch.compile(transformer) if compiled else transformer
    progress = Progress("transformer", steps=recipe.steps, start=start)
    smooth = first = 0.0
    for step in range(start + 1, recipe.steps + 1):
        batch = batches.next()
        # Only the usual size is compiled: every other shape would be compiled anew.
        usual = batch.shape == (1, 8, 8)
        losses = velocity_losses(fast if usual else transformer, batch)
        losses.mean().backward()
        optimizer.step(learning_rate(step, steps=recipe.steps))
        average.update(step)
        keep = 0.98 if step > start + 50 else 0.8
        smooth = keep * smooth + (1 - keep) * losses.mean().item()
        first = keep * first + (1 - keep) * losses[batch.sigma == 1].mean().item()
        progress.tell(step, loss=smooth, first_step=first)
        if progress.is_time_to_save() or step == recipe.steps:
            weights = {"transformer": transformer.state_dict(), "average": average.values}
            save_state(work / "transformer.pt", {**weights, "optimizer": optimizer.state_dict(), "step": step})
