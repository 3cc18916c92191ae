"""Qwen-Image: the family of `QwenImagePipeline`. GPU worker only: torch at the top.

The denoising loop is ours; `pipe(...)` is the oracle in the tests. Every rounding follows the pipeline's, so that a row
equals `pipe(...)` bit for bit on the CPU.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from generation.engine.catalog import ModelSpec
from generation.engine.family import Conditioning, Decoder, Pass
from generation.engine.pipelines.qwen_image_vae import QwenImageDecoder, denormalise, unpack_latents
from generation.engine.pipelines.rows import RowFamily, make_limits, steps_now
from generation.engine.preview import LatentMap, encode_preview, fit_latent_map
from generation.engine.prompts import DROPPED, LONGEST, PromptTokens, TemplateTokens
from generation.engine.request import PassRow
from generation.engine.schedule import Schedule, model_timesteps
from generation.engine.starts import keep_rest


class QwenImage(RowFamily):
    """See `Family`. `pipe` keeps the weights (and the offload hooks) together; its `__call__` is never used.

    It takes the VAE out of `pipe`. `exact_decode` as in `load_model`.
    """

    _masked = True

    def __init__(self, *, pipe: Any, spec: ModelSpec, device: torch.device, exact_decode: bool = False) -> None:
        super().__init__(pipe=pipe, spec=spec)
        self._exact_decode = exact_decode
        self.device = device
        self.dtype: torch.dtype = pipe.transformer.dtype
        self._factor = int(pipe.vae_scale_factor)  # picture pixels per latent, a side
        self._patch = 2 * self._factor
        self._channels = pipe.transformer.config.in_channels // 4
        self._buckets = spec.length_buckets
        self._schedule = Schedule(config=pipe.scheduler.config, overrides=spec.scheduler, fixed=spec.sigmas)
        self._tokens = self._make_tokens(pipe.tokenizer, limit=min(spec.max_prompt_tokens, LONGEST))
        # The family keeps the VAE, outside the pipeline's offload hooks: it is small, and decoders copy it.
        self._vae = pipe.vae.to(device)
        pipe.register_modules(vae=None)
        self._map = self._fit_map()
        self.limits = make_limits(
            spec, size_multiple=max(spec.size_multiple, self._patch), max_prompt_tokens=self._tokens.limit
        )

    # 1. One row, alone

    def _make_tokens(self, tokenizer: Any, *, limit: int) -> TemplateTokens:
        return PromptTokens(tokenizer, limit=limit)

    def _encode_prompt(self, prompt: str) -> Conditioning:
        """Alone, never in a batch: padding to company moves an embedding by up to .0156 in BF16."""
        middle, tokens = self._tokens.read(prompt)
        ids = (self._tokens.head + middle + self._tokens.tail)[: LONGEST + DROPPED]
        input_ids = torch.tensor([ids], device=self.device)
        states = self._pipe.text_encoder(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,  # nobody reads the logits: 150,000 numbers per token saved
        ).hidden_states
        embeds = states[-1][0, DROPPED : DROPPED + self._tokens.limit].to(self.dtype)
        return Conditioning(embeds=embeds.clone(), tokens=tokens)

    def _encode_picture(self, pixels: torch.Tensor) -> torch.Tensor:
        raw = self._vae.encode(pixels[:, :, None].to(self.dtype)).latent_dist.mode()
        return pack_latents(denormalise(raw, self._vae, inverse=True).transpose(1, 2))

    def _spread_mask(self, mask: torch.Tensor) -> torch.Tensor:
        return pack_latents(mask[:, :, None].expand(-1, -1, self._channels, -1, -1))

    # 2. A pass, step by step

    def _draw_noise(self, row: PassRow) -> torch.Tensor:
        """(1, image tokens, channels × 4) from a generator of its own on the CPU: the same on every device."""
        height, width = row.height // self._factor, row.width // self._factor
        generator = torch.Generator("cpu").manual_seed(row.seed)
        noise = torch.randn(1, 1, self._channels, height, width, generator=generator, dtype=self.dtype)
        return pack_latents(noise)

    @torch.no_grad()
    def step(self, state: Pass) -> None:
        now, after = steps_now(state)
        velocity = self._forward(state, now, state.embeds, state.mask)
        if state.negative_embeds is not None:
            negative = self._forward(state, now, state.negative_embeds, state.negative_mask)
            velocity = guide(velocity, negative, torch.tensor([row.true_cfg_scale for row in state.rows]))
        state.latents = euler_step(state.latents, velocity, after - now)
        state.velocity = velocity
        for row in state.rows:
            row.index += 1
        keep_rest(state, after)

    def _forward(
        self, state: Pass, sigmas: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The transformer's prediction for every row, (B, image tokens, channels × 4).

        On a CPU the rows go through one by one. FP32 kernels there choose their order of adding by the batch's size: a
        row in company differed by 1e-6 from the row alone. BF16 was bit-equal where it was tried, but nobody promises
        that; and a CPU gains next to nothing from a batch.
        """
        together = self._together(len(state.rows))
        timesteps = model_timesteps(sigmas, self.dtype).to(self.device)
        grid = (1, state.shape.height // self._patch, state.shape.width // self._patch)
        latents, tokens = state.latents, state.latents.shape[1]
        if state.references is not None:
            latents = torch.cat([latents, state.references], dim=1)
        shapes = [grid, *((1, *size) for size in state.shape.references)]
        parts = []
        for at in range(0, len(state.rows), together):
            rows = slice(at, at + together)
            self._apply_loras(state, range(*rows.indices(len(state.rows))))
            velocity: torch.Tensor = self._pipe.transformer(
                hidden_states=latents[rows],
                timestep=timesteps[rows],
                encoder_hidden_states=embeds[rows],
                encoder_hidden_states_mask=None if mask is None else mask[rows],
                img_shapes=[shapes] * min(together, len(state.rows) - at),
                return_dict=False,
            )[0]
            parts.append(velocity[:, :tokens])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def preview(self, state: Pass) -> dict[str, bytes]:
        if state.velocity is None or state.velocity.shape != state.latents.shape:
            return dict.fromkeys(state.keys, b"")
        sigmas = torch.stack([row.sigmas[row.index] for row in state.rows]).to(self.device)
        x0 = state.latents.float() - sigmas[:, None, None] * state.velocity.float()
        x0 = unpack_latents(x0, width=state.shape.width, height=state.shape.height, factor=self._factor)[:, :, 0]
        return dict(zip(state.keys, map(encode_preview, self._map.apply(x0).cpu()), strict=True))

    # 3. Out of the pass

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
