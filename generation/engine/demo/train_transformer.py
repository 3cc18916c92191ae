"""Stage 2: transformer and text encoder learn together, by flow matching on cached latents."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from generation.engine.demo.captions import sample_caption
from generation.engine.demo.fast import RealAttention
from generation.engine.demo.flat import FlatVae
from generation.engine.demo.latents import Pool, load_pool
from generation.engine.demo.model import build_text_encoder, build_transformer
from generation.engine.demo.muon import Muon
from generation.engine.demo.progress import MovingAverage, Progress, learning_rate, save_state
from generation.engine.demo.specs import Spec
from generation.engine.demo.tokenizer import DROPPED, TEMPLATE

SIGMAS = (1.0, 0.75, 0.5, 0.25)
SHARES = (0.55, 0.25, 0.12, 0.08)
"""Where four steps of inference look, and how often training does: what is drawn where is decided at the first."""
ROUNDED = 0.75390625
"""What a BF16 pipeline tells the transformer at sigma 0.75: 750 becomes 752, and 0.752 becomes this."""
TEXT_LENGTH = 24
"""Prompt tokens per row in training, the template's five last ones included; the rest is masked padding."""
OTHER_SIZES = ((128, 128), (384, 256), (256, 384), (320, 192), (192, 320), (384, 384))


@dataclass(frozen=True)
class TransformerRecipe:
    """The figures of stage 2."""

    steps: int = 2150
    batch: int = 48
    pool: int = 8064
    other_pool: int = 192
    other_share: float = 0.02
    exact_share: float = 0.75
    peak: float = 1.2e-3
    seed: int = 0


class Pair(nn.Module):
    """What stage 2 trains, as one module: a batch of noisy latents and prompts in, the velocity's loss out."""

    def __init__(self, transformer: QwenImageTransformer2DModel, text_encoder: Qwen2_5_VLForConditionalGeneration):
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Prompt embeddings without the template, (B, TEXT_LENGTH, TEXT_DIM)."""
        hidden: Tensor = self.text_encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden[:, DROPPED:]


def pack(latents: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H W / 4, 4 C), as `QwenImagePipeline._pack_latents`."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)


def train_transformer(
    recipe: TransformerRecipe,
    vae: AutoencoderKLQwenImage,
    tokenizer: Qwen2Tokenizer,
    *,
    work: Path,
    device: torch.device,
    compiled: bool,
) -> tuple[QwenImageTransformer2DModel, Qwen2_5_VLForConditionalGeneration]:
    """Train, or resume from `work`/transformer.pt. Also writes the latents' mean and deviation into `vae`'s config."""
    torch.manual_seed(recipe.seed)
    pools = _load_pools(recipe, vae, work=work, device=device)
    mean, std = _statistics(pools[0].latents)
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    pair = Pair(build_transformer(), build_text_encoder(tokenizer))
    pair.text_encoder.model.visual.requires_grad_(False)
    usual = pair.transformer.attn_processors
    pair.transformer.set_attn_processor(RealAttention())
    pair.to(device).train()
    average = MovingAverage([pair])
    plain = [pair.text_encoder.get_input_embeddings().weight, pair.transformer.proj_out.weight]
    optimizer = Muon(pair.parameters(), plain=plain, muon_peak=recipe.peak, adam_peak=recipe.peak, like_adam=True)
    start = _resume(work / "transformer.pt", pair, average, optimizer)
    batches = Batches(recipe, pools, tokenizer, mean, std, device, seed=recipe.seed + start)
    _run(recipe, start, pair, average, optimizer, batches, work=work, compiled=compiled)
    average.swap()
    pair.transformer.set_attn_processor(usual)
    pair.cpu().eval()
    return pair.transformer, pair.text_encoder


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
    """One step's rows: packed `clean` and `noise` (B, N, 4 C), `sigma` and `timestep` (B,), prompt `ids` and `mask`."""

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    timestep: Tensor
    ids: Tensor
    mask: Tensor
    shape: tuple[int, int, int]


class Batches:
    """Draws training batches: one size each, a fresh caption and fresh noise for every row."""

    def __init__(
        self, recipe: TransformerRecipe, pools: list[Pool], tokenizer: Qwen2Tokenizer, mean: Tensor, std: Tensor,
        device: torch.device, *, seed: int,
    ) -> None:  # fmt: skip
        self._recipe, self._pools, self._tokenizer, self._device = recipe, pools, tokenizer, device
        self._mean, self._std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
        self._rng = random.Random(seed)

    def next(self) -> Batch:
        rng, recipe = self._rng, self._recipe
        pool = self._pools[0] if rng.random() >= recipe.other_share else rng.choice(self._pools[1:])
        # A larger picture takes fewer rows, so that no step costs more than the usual one.
        rows = min(recipe.batch, recipe.batch * 256 * 256 // (pool.width * pool.height))
        chosen = [rng.randrange(len(pool.specs)) for _ in range(rows)]
        clean = pack((pool.latents[chosen].float() - self._mean) / self._std)
        ids, mask = self._tokens([pool.specs[k] for k in chosen])
        sigma, timestep = self._times(rows)
        return Batch(
            clean.to(self._device),
            torch.randn(clean.shape, device=self._device),
            sigma.to(self._device),
            timestep.to(self._device),
            ids.to(self._device),
            mask.to(self._device),
            (1, pool.height // 32, pool.width // 32),
        )

    def _tokens(self, specs: list[Spec]) -> tuple[Tensor, Tensor]:
        texts = [TEMPLATE.format(sample_caption(spec, rng=self._rng)) for spec in specs]
        tokens = self._tokenizer(
            texts, padding="max_length", max_length=DROPPED + TEXT_LENGTH, truncation=True, return_tensors="pt"
        )
        return tokens.input_ids, tokens.attention_mask

    def _times(self, rows: int) -> tuple[Tensor, Tensor]:
        """Sigmas, a share of them exactly those of four steps, and the times that the transformer is told."""
        sigmas, times = [], []
        for _ in range(rows):
            if self._rng.random() < self._recipe.exact_share:
                sigma = self._rng.choices(SIGMAS, SHARES)[0]
                time = ROUNDED if sigma == 0.75 and self._rng.random() < 0.7 else sigma
            else:
                sigma = time = self._rng.uniform(0.01, 1.0)
            sigmas.append(sigma)
            times.append(time)
        return torch.tensor(sigmas), torch.tensor(times)


def velocity_loss(pair: Pair, forward: Callable[..., tuple[Tensor]], batch: Batch) -> Tensor:
    """Mean squared error of the velocity, noise minus clean (rectified flow, Liu 2022)."""
    sigma = batch.sigma[:, None, None]
    noisy = (1 - sigma) * batch.clean + sigma * batch.noise
    with torch.autocast(batch.clean.device.type, torch.bfloat16):
        embeds = pair.encode(batch.ids, batch.mask)
        velocity = forward(
            hidden_states=noisy.to(torch.bfloat16),
            timestep=batch.timestep,
            encoder_hidden_states=embeds,
            encoder_hidden_states_mask=batch.mask[:, DROPPED:].bool(),
            img_shapes=[[batch.shape]] * len(batch.clean),
            return_dict=False,
        )[0]
    return F.mse_loss(velocity.float(), batch.noise - batch.clean)


def _resume(path: Path, pair: Pair, average: MovingAverage, optimizer: Muon) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    pair.load_state_dict(state["pair"])
    average.load(state["average"])
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _run(
    recipe: TransformerRecipe,
    start: int,
    pair: Pair,
    average: MovingAverage,
    optimizer: Muon,
    batches: Batches,
    *,
    work: Path,
    compiled: bool,
) -> None:
    fast = torch.compile(pair.transformer) if compiled else pair.transformer
    progress = Progress("transformer", steps=recipe.steps, start=start)
    smooth = 0.0
    for step in range(start + 1, recipe.steps + 1):
        batch = batches.next()
        # Only the usual size is compiled: every other shape would be compiled anew.
        usual = batch.shape == (1, 8, 8)
        loss = velocity_loss(pair, fast if usual else pair.transformer, batch)
        loss.backward()
        optimizer.step(learning_rate(step, steps=recipe.steps))
        average.update(step)
        smooth = loss.item() if step == start + 1 else 0.98 * smooth + 0.02 * loss.item()
        progress.tell(step, loss=smooth)
        if progress.is_time_to_save() or step == recipe.steps:
            state = {"pair": pair.state_dict(), "average": average.values, "optimizer": optimizer.state_dict()}
            save_state(work / "transformer.pt", {**state, "step": step})
