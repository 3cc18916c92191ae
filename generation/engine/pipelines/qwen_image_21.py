"""Qwen-Image 2.1: the family of `QwenImage21Pipeline`, text to image. GPU worker only: torch at the top.

What is particular here: text lengths are exact, because a picture's rotary positions begin behind the longest text of
its batch; text keys and values are computed in a row's first step and kept with the row; sizes are multiples of 32; a
checkpoint may fix its noise levels (`sample_sigmas`); the VAE draws four channels.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_qwenimage21 import QwenImage21KVCache
from torch import nn
from transformers import Qwen2Tokenizer

from generation.engine.catalog import ModelSpec
from generation.engine.errors import CheckpointError
from generation.engine.family import Conditioning, Decoder, Pass, RowLatents, RowState
from generation.engine.pipelines.qwen_image import euler_step
from generation.engine.pipelines.rows import RowFamily, make_limits, steps_now
from generation.engine.preview import LatentMap, encode_preview, fit_latent_map
from generation.engine.prompts import TemplateTokens
from generation.engine.request import PassRow
from generation.engine.schedule import Grid, Schedule, even_grid, model_timesteps

# `QwenImage21Pipeline`'s text around a prompt; the system's part is dropped once it is encoded.
SYSTEM = "<|im_start|>system\nComprehend and analyze the provided prompt.<|im_end|>\n"
HEAD = SYSTEM + "<|im_start|>user\n"
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
LONGEST = 1024
_SLOT = 4  # image tokens per slot of the language model's sequence


class TextProcessor:
    """The text half of a `Qwen3VLProcessor`: its picture half needs torchvision, and text to image never asks it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, folder: Path, **kwargs: Any) -> TextProcessor:
        return cls(Qwen2Tokenizer.from_pretrained(folder, **kwargs))

    def apply_chat_template(self, messages: Any, **_: Any) -> list[list[int]]:
        """The pipeline asks once, when it is made: how many tokens the system's message has."""
        ids: list[int] = self.tokenizer(SYSTEM, add_special_tokens=False)["input_ids"]
        return [ids]


@dataclass(slots=True, kw_only=True)
class _Row(RowState):
    """A row with the text's keys and values, (1, text, heads, dim) per layer; None before its first step."""

    cache: QwenImage21KVCache | None = None
    negative_cache: QwenImage21KVCache | None = None


class QwenImage21(RowFamily):
    """See `Family`. `pipe` keeps the weights (and the offload hooks) together; its `__call__` is never used.

    It takes the VAE out of `pipe`. `exact_decode` is without effect: this VAE is a single-frame one already.
    """

    _row_class = _Row

    def __init__(self, *, pipe: Any, spec: ModelSpec, device: torch.device, exact_decode: bool = False) -> None:
        super().__init__(pipe=pipe, spec=spec)
        self.device = device
        self.dtype: torch.dtype = pipe.transformer.dtype
        self._factor = int(pipe.vae_scale_factor)  # picture pixels per latent, a side; one latent is one token
        self._patch = self._factor
        self._channels = int(pipe.transformer.config.in_channels)
        self._caching = bool(pipe.transformer.config.causal_condition)
        self._buckets = ()
        levels = tuple(pipe.config.sample_sigmas or ())
        self._schedule = Schedule(
            config=pipe.scheduler.config, overrides=spec.scheduler, fixed=spec.sigmas, grid=_grid(levels)
        )
        # The transformer was trained on what comes before the language model's last norm. The pipeline hooks the norm
        # for each call; the family owns the model, so the norm goes.
        language = getattr(pipe.text_encoder.model, "language_model", pipe.text_encoder.model)
        language.norm = nn.Identity()
        self._tokens = TemplateTokens(
            pipe.processor.tokenizer, head=HEAD, tail=TAIL, limit=min(spec.max_prompt_tokens, LONGEST)
        )
        self._dropped = len(pipe.processor.tokenizer(SYSTEM, add_special_tokens=False)["input_ids"])
        # The family keeps the VAE, outside the pipeline's offload hooks; decoders copy it: it holds state at work.
        self._vae = pipe.vae.to(device)
        pipe.register_modules(vae=None)
        self._map = self._fit_map()
        steps = _steps(spec, levels)
        self.limits = make_limits(
            spec,
            **steps,
            size_multiple=max(spec.size_multiple, 2 * self._factor),
            max_prompt_tokens=self._tokens.limit,
            length_buckets=(),
        )

    # 1. One row, alone

    def _encode_prompt(self, prompt: str) -> Conditioning:
        middle, tokens = self._tokens.read(prompt)
        cut = len(middle) - (tokens.total - tokens.used)
        ids = self._tokens.head + middle[:cut] + self._tokens.tail
        input_ids = torch.tensor([ids], device=self.device)
        states = self._pipe.text_encoder(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,  # nobody reads the logits: 150,000 numbers per token saved
        ).hidden_states
        return Conditioning(embeds=states[-1][0, self._dropped :].to(self.dtype).clone(), tokens=tokens)

    # 2. A pass, step by step

    def _draw_noise(self, row: PassRow) -> torch.Tensor:
        """(1, image tokens, channels) from a generator of its own on the CPU: the same on every device."""
        height, width = row.height // self._factor, row.width // self._factor
        generator = torch.Generator("cpu").manual_seed(row.seed)
        noise = torch.randn(1, 1, self._channels, height, width, generator=generator, dtype=self.dtype)
        return pack_latents(noise[:, 0])

    @torch.no_grad()
    def step(self, state: Pass) -> None:
        now, after = steps_now(state)
        velocity = self._predict(state, now, negative=False)
        if state.negative_embeds is not None:
            other = self._predict(state, now, negative=True)
            scales = torch.tensor([row.true_cfg_scale for row in state.rows], dtype=torch.float32, device=self.device)
            # In FP32, rounded once: what a Python number times a BF16 tensor does.
            velocity = other + (scales[:, None, None] * (velocity - other).float()).to(self.dtype)
        state.latents = euler_step(state.latents, velocity, after - now)
        state.velocity = velocity
        for row in state.rows:
            row.index += 1

    def _predict(self, state: Pass, sigmas: torch.Tensor, *, negative: bool) -> torch.Tensor:
        """Each row's velocity, (B, image tokens, channels).

        Rows in their first step compute the text's keys and values; the others bring theirs. So the two kinds are two
        forwards, and a row that joins later is computed as it would have been alone.
        """
        timesteps = model_timesteps(sigmas, self.dtype).to(self.device)
        parts: dict[int, torch.Tensor] = {}
        for fresh in (True, False):
            kind = [index for index, row in enumerate(state.rows) if (row.index == 0) == fresh]
            size = self._together(max(len(kind), 1))
            for at in range(0, len(kind), size):
                chosen = kind[at : at + size]
                answer = self._forward(state, timesteps, chosen, negative=negative, fresh=fresh)
                parts.update(zip(chosen, answer.split(1), strict=True))
        return torch.cat([parts[index] for index in range(len(state.rows))])

    def _forward(
        self, state: Pass, timesteps: torch.Tensor, chosen: list[int], *, negative: bool, fresh: bool
    ) -> torch.Tensor:
        name = "negative_cache" if negative else "cache"
        embeds = state.negative_embeds if negative else state.embeds
        if embeds is None:
            raise ValueError("a pass without negative prompts has no negative prediction")
        rows = [state.rows[index] for index in chosen]
        cache = None
        if self._caching:
            layers = len(self._pipe.transformer.transformer_blocks)
            cache = QwenImage21KVCache(layers) if fresh else _join_caches([getattr(row, name) for row in rows])
        tokens = state.latents.shape[1]
        slots = torch.ones(len(rows), embeds.shape[1] + tokens // _SLOT, dtype=torch.bool, device=self.device)
        slots[:, : embeds.shape[1]] = False
        grid = (1, state.shape.height // self._factor, state.shape.width // self._factor)
        self._apply_loras(state, chosen)
        answer: torch.Tensor = self._pipe.transformer(
            hidden_states=state.latents[chosen],
            timestep=timesteps[chosen],
            encoder_hidden_states=embeds[chosen],
            img_shapes=[[grid]] * len(rows),
            img_mask=slots,
            kv_cache=cache,
            kv_cache_mode=None if cache is None else ("extract" if fresh else "cached"),
            return_dict=False,
        )[0]
        if cache is not None and fresh:
            for place, row in enumerate(rows):
                setattr(row, name, _take_cache(cache, place))
        return answer[:, -tokens:]

    @torch.no_grad()
    def preview(self, state: Pass) -> dict[str, bytes]:
        if state.velocity is None or state.velocity.shape != state.latents.shape:
            return dict.fromkeys(state.keys, b"")
        sigmas = torch.stack([row.sigmas[row.index] for row in state.rows]).to(self.device)
        x0 = state.latents.float() - sigmas[:, None, None] * state.velocity.float()
        x0 = unpack_latents(x0, width=state.shape.width, height=state.shape.height, factor=self._factor)
        return dict(zip(state.keys, map(encode_preview, self._map.apply(x0).cpu()), strict=True))

    def _move(self, state: Pass, device: torch.device) -> Pass:
        moved = super()._move(state, device)
        moved.rows = [_move_row(row, device) for row in moved.rows]
        return moved

    # 3. Out of the pass

    def decoder(self) -> Decoder:
        return QwenImage21Decoder(copy.deepcopy(self._vae), factor=self._factor)

    @torch.no_grad()
    def _fit_map(self) -> LatentMap:
        vae = self._vae
        decoder = QwenImage21Decoder(vae, factor=self._factor)

        def roundtrip(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            opaque = torch.ones_like(pictures[:, :1]).expand(-1, vae.config.in_channels - 3, -1, -1)
            solid = torch.cat([pictures, opaque], dim=1)[:, :, None].to(vae.dtype)
            raw = vae.encode(solid).latent_dist.mode()
            mean, std = _scale(vae, raw)
            return ((raw - mean) / std)[:, :, 0], decoder.decode_raw(raw)

        return fit_latent_map(roundtrip, factor=self._factor, device=self.device)


class QwenImage21Decoder:
    """See `Decoder`. Transparent pictures are laid on white: what leaves the studio has three channels."""

    def __init__(self, vae: Any, *, factor: int) -> None:
        self._vae = vae
        self._factor = factor

    @torch.no_grad()
    def decode(self, latents: RowLatents) -> torch.Tensor:
        packed = latents.tensor.to(next(self._vae.parameters()).device)
        spread = unpack_latents(packed, width=latents.width, height=latents.height, factor=self._factor)
        spread = spread[:, :, None].to(self._vae.dtype)
        mean, std = _scale(self._vae, spread)
        return self.decode_raw(spread * std + mean)[0]

    @torch.no_grad()
    def decode_raw(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, channels, 1, h, w) in the VAE's own scale → (B, 3, H, W), 0 to 1."""
        decoded: torch.Tensor = self._vae.decode(raw, return_dict=False)[0][:, :, 0]
        frame = (decoded * 0.5 + 0.5).clamp(0, 1)
        colour, alpha = frame[:, :3], frame[:, 3:4]
        return colour * alpha + (1 - alpha) if alpha.shape[1] else colour


def pack_latents(latents: torch.Tensor) -> torch.Tensor:
    """(B, channels, h, w) → (B, h × w, channels)."""
    return latents.flatten(2).transpose(1, 2)


def unpack_latents(latents: torch.Tensor, *, width: int, height: int, factor: int) -> torch.Tensor:
    """(B, h × w, channels) → (B, channels, height / factor, width / factor)."""
    spread: torch.Tensor = latents.transpose(1, 2).unflatten(2, (height // factor, width // factor))
    return spread


def _scale(vae: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each latent channel, (1, channels, 1, 1, 1), on `like`'s device and in its dtype."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean, std = (torch.tensor(values).view(shape) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean.to(like.device, like.dtype), std.to(like.device, like.dtype)


def _grid(levels: tuple[float, ...]) -> Grid:
    return (lambda steps: levels) if levels else even_grid


def _steps(spec: ModelSpec, levels: tuple[float, ...]) -> dict[str, int]:
    """Where the checkpoint fixes its levels the pipeline ignores `num_inference_steps`; here others are refused."""
    if not levels or spec.sigmas:
        return {}
    if not spec.min_steps <= len(levels) <= spec.max_steps or spec.default_steps != len(levels):
        reason = f"fixes {len(levels)} steps (sample_sigmas), the entry's default_steps is {spec.default_steps}"
        remedy = f"set default_steps = {len(levels)}, or give sigmas of your own"
        raise CheckpointError(file=f"{spec.path}/model_index.json", reason=reason, remedy=remedy)
    return {"min_steps": len(levels), "max_steps": len(levels)}


def _take_cache(cache: QwenImage21KVCache, place: int) -> QwenImage21KVCache:
    """One row's keys and values of a batch's."""
    own = QwenImage21KVCache(len(cache.layer_caches))
    for layer, source in zip(own.layer_caches, cache.layer_caches, strict=True):
        key, value = source.get()
        layer.store(key[place : place + 1].clone(), value[place : place + 1].clone())
    return own


def _join_caches(caches: list[QwenImage21KVCache]) -> QwenImage21KVCache:
    """The rows' keys and values as one batch's."""
    if len(caches) == 1:
        return caches[0]
    joined = QwenImage21KVCache(len(caches[0].layer_caches))
    for index, layer in enumerate(joined.layer_caches):
        pairs = [cache.get_layer(index).get() for cache in caches]
        layer.store(torch.cat([key for key, _ in pairs]), torch.cat([value for _, value in pairs]))
    return joined


def _move_row(row: RowState, device: torch.device) -> RowState:
    if not isinstance(row, _Row):
        raise TypeError(f"row {row.key} was not begun by this family")
    return dataclasses.replace(
        row, cache=_move_cache(row.cache, device), negative_cache=_move_cache(row.negative_cache, device)
    )


def _move_cache(cache: QwenImage21KVCache | None, device: torch.device) -> QwenImage21KVCache | None:
    if cache is None:
        return None
    moved = QwenImage21KVCache(len(cache.layer_caches))
    for layer, source in zip(moved.layer_caches, cache.layer_caches, strict=True):
        key, value = source.get()
        layer.store(key.to(device, copy=True), value.to(device, copy=True))
    return moved
