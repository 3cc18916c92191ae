"""Qwen-Image: the family of `QwenImagePipeline`. GPU worker only: torch at the top.

The denoising loop is ours; `pipe(...)` is the oracle in the tests. Every rounding follows the pipeline's, so that a row
equals `pipe(...)` bit for bit on the CPU.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from generation.engine.adapters import Adapters
from generation.engine.catalog import ModelSpec
from generation.engine.errors import RowRefused
from generation.engine.family import (
    Conditioning,
    Decoder,
    Limits,
    Parked,
    Pass,
    PassShape,
    RowConds,
    RowLatents,
    RowState,
    TokenCount,
)
from generation.engine.lorarules import RULES
from generation.engine.pipelines.qwen_image_vae import QwenImageDecoder, denormalise, unpack_latents
from generation.engine.preview import LatentMap, encode_preview, fit_latent_map
from generation.engine.prompts import DROPPED, LONGEST, PromptCache, PromptTokens, pad_embeds
from generation.engine.request import PassRow, length_bucket
from generation.engine.schedule import Schedule, model_timesteps

# What a `Pass` holds per row, first dimension = rows.
_TENSORS = ("latents", "embeds", "mask", "negative_embeds", "negative_mask", "velocity")


class QwenImage:
    """See `Family`. `pipe` keeps the weights (and the offload hooks) together; its `__call__` is never used.

    It takes the VAE out of `pipe`. `exact_decode` as in `load_model`.
    """

    def __init__(self, *, pipe: Any, spec: ModelSpec, device: torch.device, exact_decode: bool = False) -> None:
        self._pipe = pipe
        self._exact_decode = exact_decode
        self.device = device
        self.dtype: torch.dtype = pipe.transformer.dtype
        self._factor = int(pipe.vae_scale_factor)  # picture pixels per latent, a side
        self._channels = pipe.transformer.config.in_channels // 4
        self._buckets = spec.length_buckets
        self._schedule = Schedule(config=pipe.scheduler.config, overrides=spec.scheduler, fixed=spec.sigmas)
        self._tokens = PromptTokens(pipe.tokenizer, limit=min(spec.max_prompt_tokens, LONGEST))
        self._cache = PromptCache()
        # The family keeps the VAE, outside the pipeline's offload hooks: it is small, and decoders copy it.
        self._vae = pipe.vae.to(device)
        pipe.register_modules(vae=None)
        self._map = self._fit_map()
        self.adapters = Adapters(
            pipe.transformer,
            rules=RULES[spec.family],
            most_bytes=spec.lora_cache_bytes,
            max_rank=spec.max_lora_rank,
        )
        self.limits = Limits(
            size_multiple=max(spec.size_multiple, 2 * self._factor),
            max_width=spec.max_width,
            max_height=spec.max_height,
            min_steps=spec.min_steps,
            max_steps=spec.max_steps,
            max_prompt_tokens=self._tokens.limit,
            batch_max=spec.batch_max,
            length_buckets=spec.length_buckets,
            tasks=spec.tasks,
            max_loras=spec.max_loras,
        )

    # 1. One row, alone

    def check(self, row: PassRow) -> None:
        limits = self.limits
        for name, value, most in (("width", row.width, limits.max_width), ("height", row.height, limits.max_height)):
            if value % limits.size_multiple:
                raise RowRefused(f"{name} {value} is not a multiple of {limits.size_multiple}")
            if value > most:
                raise RowRefused(f"{name} {value} is over this model's {most}")
        if not limits.min_steps <= row.num_inference_steps <= limits.max_steps:
            raise RowRefused(
                f"num_inference_steps {row.num_inference_steps} is out of range, "
                f"{limits.min_steps} to {limits.max_steps}"
            )
        if len(row.loras) > limits.max_loras:
            raise RowRefused(f"loras has {len(row.loras)} entries, this model takes {limits.max_loras}")

    def count_tokens(self, prompt: str) -> TokenCount:
        return self._tokens.read(prompt)[1]

    @torch.no_grad()
    def encode(self, row: PassRow) -> RowConds:
        negative = self._encode_prompt(row.negative_prompt) if row.guided else None
        return RowConds(positive=self._encode_prompt(row.prompt), negative=negative)

    def _encode_prompt(self, prompt: str) -> Conditioning:
        """Alone, never in a batch: padding to company moves an embedding by up to .0156 in BF16."""
        cached = self._cache.get(prompt)
        if cached is not None:
            return cached
        ids, tokens = self._tokens.read(prompt)
        input_ids = torch.tensor([ids], device=self.device)
        states = self._pipe.text_encoder(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,  # nobody reads the logits: 150,000 numbers per token saved
        ).hidden_states
        embeds = states[-1][0, DROPPED : DROPPED + self._tokens.limit].to(self.dtype)
        cond = Conditioning(embeds=embeds.clone(), tokens=tokens)
        self._cache.put(prompt, cond)
        return cond

    def plan(self, row: PassRow, conds: RowConds) -> PassShape:
        negative = conds.negative
        return PassShape(
            width=row.width,
            height=row.height,
            bucket=length_bucket(conds.positive.length, self._buckets),
            negative_bucket=length_bucket(negative.length, self._buckets) if negative else None,
            loras=tuple(use.sha256 for use in row.stack),
        )

    # 2. A pass, step by step

    @torch.no_grad()
    def begin(self, rows: Sequence[PassRow], conds: Sequence[RowConds]) -> Pass:
        shapes = {self.plan(row, cond) for row, cond in zip(rows, conds, strict=True)}
        if len(shapes) != 1:
            raise ValueError(f"rows of one pass must have one size, bucket and LoRA stack, got {len(shapes)} shapes")
        for row in rows:
            self.check(row)
        (shape,) = shapes
        self.adapters.begin()
        exact = not self._buckets
        embeds, mask = pad_embeds([cond.positive for cond in conds], bucket=shape.bucket, exact=exact)
        state = Pass(
            shape=shape,
            rows=[self._start_row(row, cond) for row, cond in zip(rows, conds, strict=True)],
            latents=torch.cat([self._draw_noise(row) for row in rows]).to(self.device),
            embeds=embeds,
            mask=mask,
            loras=rows[0].stack,
        )
        negatives = [cond.negative for cond in conds if cond.negative is not None]
        if shape.negative_bucket is not None:
            state.negative_embeds, state.negative_mask = pad_embeds(
                negatives, bucket=shape.negative_bucket, exact=exact
            )
        return state

    def _start_row(self, row: PassRow, cond: RowConds) -> RowState:
        image_tokens = (row.height // self._factor // 2) * (row.width // self._factor // 2)
        return RowState(
            key=row.key,
            true_cfg_scale=row.true_cfg_scale,
            sigmas=self._schedule.sigmas(steps=row.num_inference_steps, image_tokens=image_tokens),
            tokens=cond.positive.tokens,
            lora_scales=tuple(use.scale for use in row.stack),
        )

    def _draw_noise(self, row: PassRow) -> torch.Tensor:
        """(1, image tokens, channels × 4) from a generator of its own on the CPU: the same on every device."""
        height, width = row.height // self._factor, row.width // self._factor
        generator = torch.Generator("cpu").manual_seed(row.seed)
        noise = torch.randn(1, 1, self._channels, height, width, generator=generator, dtype=self.dtype)
        return pack_latents(noise)

    @torch.no_grad()
    def step(self, state: Pass) -> None:
        if state.finished:
            raise ValueError(f"rows {', '.join(state.finished)} are finished, take them out before the next step")
        now = torch.stack([row.sigmas[row.index] for row in state.rows])
        after = torch.stack([row.sigmas[row.index + 1] for row in state.rows])
        velocity = self._forward(state, now, state.embeds, state.mask)
        if state.negative_embeds is not None:
            negative = self._forward(state, now, state.negative_embeds, state.negative_mask)
            velocity = guide(velocity, negative, torch.tensor([row.true_cfg_scale for row in state.rows]))
        state.latents = euler_step(state.latents, velocity, after - now)
        state.velocity = velocity
        for row in state.rows:
            row.index += 1

    def _forward(
        self, state: Pass, sigmas: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The transformer's prediction for every row, (B, image tokens, channels × 4).

        On a CPU the rows go through one by one. FP32 kernels there choose their order of adding by the batch's size: a
        row in company differed by 1e-6 from the row alone. BF16 was bit-equal where it was tried, but nobody promises
        that; and a CPU gains next to nothing from a batch.
        """
        together = len(state.rows) if self.device.type != "cpu" else 1
        timesteps = model_timesteps(sigmas, self.dtype).to(self.device)
        grid = (1, state.shape.height // self._factor // 2, state.shape.width // self._factor // 2)
        parts = []
        for at in range(0, len(state.rows), together):
            rows = slice(at, at + together)
            self.adapters.apply(state.loras, [row.lora_scales for row in state.rows[rows]])
            velocity: torch.Tensor = self._pipe.transformer(
                hidden_states=state.latents[rows],
                timestep=timesteps[rows],
                encoder_hidden_states=embeds[rows],
                encoder_hidden_states_mask=None if mask is None else mask[rows],
                img_shapes=[[grid]] * min(together, len(state.rows) - at),
                return_dict=False,
            )[0]
            parts.append(velocity)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def preview(self, state: Pass) -> dict[str, bytes]:
        if state.velocity is None or state.velocity.shape != state.latents.shape:
            return dict.fromkeys(state.keys, b"")
        sigmas = torch.stack([row.sigmas[row.index] for row in state.rows]).to(self.device)
        x0 = state.latents.float() - sigmas[:, None, None] * state.velocity.float()
        x0 = unpack_latents(x0, width=state.shape.width, height=state.shape.height, factor=self._factor)[:, :, 0]
        return dict(zip(state.keys, map(encode_preview, self._map.apply(x0).cpu()), strict=True))

    # 3. Rows come and go between steps

    def drop(self, state: Pass, keys: set[str]) -> None:
        kept = [index for index, row in enumerate(state.rows) if row.key not in keys]
        rows = torch.tensor(kept, device=self.device, dtype=torch.long)
        state.rows = [state.rows[index] for index in kept]
        for name in _TENSORS:
            tensor = getattr(state, name)
            setattr(state, name, None if tensor is None else tensor[rows])

    def join(self, state: Pass, newcomers: Pass) -> None:
        if state.shape != newcomers.shape:
            raise ValueError(f"a pass of {newcomers.shape} cannot join one of {state.shape}")
        if set(state.keys) & set(newcomers.keys):
            raise ValueError("a row with this key is in the pass already")
        state.rows = state.rows + newcomers.rows
        for name in _TENSORS:
            ours, theirs = getattr(state, name), getattr(newcomers, name)
            joined = None if ours is None or theirs is None else torch.cat([ours, theirs])
            setattr(state, name, joined)

    def park(self, state: Pass) -> Parked:
        return Parked(state=_move(state, torch.device("cpu")))

    def resume(self, parked: Parked) -> Pass:
        return _move(parked.state, self.device)

    # 4. Out of the pass

    def latents(self, state: Pass) -> list[RowLatents]:
        return [
            RowLatents(
                key=row.key,
                tensor=state.latents[index : index + 1].clone(),
                width=state.shape.width,
                height=state.shape.height,
            )
            for index, row in enumerate(state.rows)
            if row.finished
        ]

    def decoder(self) -> Decoder:
        return QwenImageDecoder(copy.deepcopy(self._vae), factor=self._factor, exact=self._exact_decode)

    @torch.no_grad()
    def _fit_map(self) -> LatentMap:
        vae = self._vae
        decoder = QwenImageDecoder(vae, factor=self._factor, exact=True)

        def roundtrip(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            raw = vae.encode(pictures[:, :, None].to(vae.dtype)).latent_dist.mode()
            return denormalise(raw, vae, inverse=True)[:, :, 0], decoder.decode_raw(raw)

        return fit_latent_map(roundtrip, factor=self._factor, device=self.device)


def pack_latents(latents: torch.Tensor) -> torch.Tensor:
    """(B, 1, channels, h, w) → (B, h/2 × w/2, channels × 4): 2 × 2 patches as tokens, as the pipeline packs them."""
    batch, _, channels, height, width = latents.shape
    patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, (height // 2) * (width // 2), channels * 4)


def guide(velocity: torch.Tensor, negative: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """True CFG with the pipeline's rescaling to the conditional norm; `scales` (B,) FP32.

    Products are taken in FP32 and rounded once, which is what a Python number times a BF16 tensor does.
    """
    strength = scales.to(velocity.device, torch.float32)[:, None, None]
    combined = negative + (strength * (velocity - negative).float()).to(velocity.dtype)
    wanted: torch.Tensor = torch.norm(velocity, dim=-1, keepdim=True)
    reached: torch.Tensor = torch.norm(combined, dim=-1, keepdim=True)
    return combined * (wanted / reached)


def euler_step(latents: torch.Tensor, velocity: torch.Tensor, dt: torch.Tensor) -> torch.Tensor:
    """x + dt v with the scheduler's roundings; `dt` (B,) FP32.

    There dt is a tensor of no dimension, which torch rounds to the dtype of what it multiplies (a Python number would
    keep its precision); the sum is taken in FP32.
    """
    moved = dt.to(velocity.device, velocity.dtype)[:, None, None] * velocity
    return (latents.float() + moved).to(velocity.dtype)


def _move(state: Pass, device: torch.device) -> Pass:
    """A copy of everything, on `device`."""
    moved = dataclasses.replace(state, rows=[dataclasses.replace(row) for row in state.rows])
    for name in _TENSORS:
        tensor = getattr(state, name)
        setattr(moved, name, None if tensor is None else tensor.to(device, copy=True))
    return moved
