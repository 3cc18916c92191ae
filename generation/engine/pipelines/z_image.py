"""Z-Image: the family of `ZImagePipeline`. GPU worker only: torch at the top.

The denoising loop is ours; `pipe(...)` is the oracle in the tests. What is particular here: latents stay FP32, the
transformer is told 1 − t and predicts against the flow, and each prompt is padded by itself inside the transformer, so
rows of different text lengths share a forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from generation.engine.catalog import ModelSpec
from generation.engine.family import Conditioning, Decoder, Pass, RowConds, RowLatents, RowState
from generation.engine.pipelines.rows import RowFamily, make_limits, steps_now
from generation.engine.preview import LatentMap, encode_preview, fit_latent_map
from generation.engine.prompts import TemplateTokens
from generation.engine.request import PassRow
from generation.engine.schedule import Schedule
from generation.engine.starts import keep_rest

_PLACE = "\ue000"  # stands for the prompt while the chat template is rendered; nobody's template holds it
_RUNG = 32  # the transformer pads each prompt and each picture to a multiple of this


@dataclass(slots=True, kw_only=True)
class _Row(RowState):
    """A row with its text lengths: embeddings are stacked with zeros behind them, and the forward cuts those off."""

    length: int = 0
    negative_length: int = 0


class ZImage(RowFamily):
    """See `Family`. `pipe` keeps the weights (and the offload hooks) together; its `__call__` is never used.

    It takes the VAE out of `pipe`. `exact_decode` is without effect: this VAE has no faster twin.
    """

    _row_class = _Row

    def __init__(self, *, pipe: Any, spec: ModelSpec, device: torch.device, exact_decode: bool = False) -> None:
        super().__init__(pipe=pipe, spec=spec)
        self.device = device
        self.dtype: torch.dtype = pipe.transformer.dtype
        self._factor = int(pipe.vae_scale_factor)  # picture pixels per latent, a side
        self._patch = 2 * self._factor
        self._channels = int(pipe.transformer.in_channels)
        self._buckets = spec.length_buckets
        self._schedule = Schedule(
            config=pipe.scheduler.config, overrides=spec.scheduler, fixed=spec.sigmas, grid=_even_grid
        )
        _end_early(pipe.text_encoder)
        # All tokens count towards the pipeline's limit, the template's too; the rotary table must hold them and a
        # picture's frame behind them.
        places = int(pipe.transformer.axes_lens[0])
        self._longest = min(spec.max_prompt_tokens, (places - 2) // _RUNG * _RUNG)
        head, tail = _split_template(pipe.tokenizer)
        self._tokens = TemplateTokens(pipe.tokenizer, head=head, tail=tail, limit=self._longest)
        self._tokens.limit = self._longest - self._tokens.before
        # The family keeps the VAE, outside the pipeline's offload hooks: it is small. It holds no state while it works.
        self._vae = pipe.vae.to(device)
        pipe.register_modules(vae=None)
        self._map = self._fit_map()
        self.limits = make_limits(
            spec,
            size_multiple=max(spec.size_multiple, 2 * self._factor),
            max_width=min(spec.max_width, 2 * self._factor * int(pipe.transformer.axes_lens[2])),
            max_height=min(spec.max_height, 2 * self._factor * int(pipe.transformer.axes_lens[1])),
            max_prompt_tokens=self._tokens.limit,
        )

    # 1. One row, alone

    def _encode_prompt(self, prompt: str) -> Conditioning:
        """Alone and unpadded; the pipeline pads to 512 tokens and throws the rest of the answer away."""
        middle, tokens = self._tokens.read(prompt)
        ids = (self._tokens.head + middle + self._tokens.tail)[: self._longest]
        input_ids = torch.tensor([ids], device=self.device)
        states = self._pipe.text_encoder(
            input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False
        ).last_hidden_state
        return Conditioning(embeds=states[0].to(self.dtype).clone(), tokens=tokens)

    # 2. A pass, step by step

    def _begin_row(self, row: PassRow, conds: RowConds) -> RowState:
        state = super()._begin_row(row, conds)
        if isinstance(state, _Row):
            state.length = conds.positive.length
            state.negative_length = conds.negative.length if conds.negative else 0
        return state

    def _encode_picture(self, pixels: torch.Tensor) -> torch.Tensor:
        raw = self._vae.encode(pixels.to(self._vae.dtype)).latent_dist.mode()
        scaled: torch.Tensor = (raw - self._vae.config.shift_factor) * self._vae.config.scaling_factor
        return scaled.float()

    def _spread_mask(self, mask: torch.Tensor) -> torch.Tensor:
        return mask

    def _draw_noise(self, row: PassRow) -> torch.Tensor:
        """(1, channels, h, w) FP32 from a generator of its own on the CPU: the same on every device."""
        generator = torch.Generator("cpu").manual_seed(row.seed)
        height, width = row.height // self._factor, row.width // self._factor
        return torch.randn(1, self._channels, height, width, generator=generator, dtype=torch.float32)

    @torch.no_grad()
    def step(self, state: Pass) -> None:
        now, after = steps_now(state)
        velocity = self._predict(state, now)
        dt = (after - now).to(self.device)[:, None, None, None]
        state.latents = state.latents + dt * velocity
        state.velocity = velocity
        for row in state.rows:
            row.index += 1
        keep_rest(state, after)

    def _predict(self, state: Pass, sigmas: torch.Tensor) -> torch.Tensor:
        """Each row's velocity, FP32, (B, channels, h, w); under CFG a row and its negative share a forward."""
        parts = []
        together = self._together(len(state.rows))
        for at in range(0, len(state.rows), together):
            chosen = range(at, min(at + together, len(state.rows)))
            predicted = self._forward(state, sigmas, chosen)
            positive = torch.stack([predicted[index].float() for index in range(len(chosen))])
            if state.negative_embeds is not None:
                negative = torch.stack([part.float() for part in predicted[len(chosen) :]])
                scales = [guidance_scale(_row(state, index).true_cfg_scale) for index in chosen]
                strength = torch.tensor(scales, dtype=torch.float32, device=self.device)[:, None, None, None, None]
                positive = positive + strength * (positive - negative)
            parts.append(-positive.squeeze(2))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _forward(self, state: Pass, sigmas: torch.Tensor, chosen: range) -> list[torch.Tensor]:
        """The transformer's answers, one (channels, 1, h, w) per row, then one per negative prompt."""
        latents = list(state.latents[chosen.start : chosen.stop].to(self.dtype).unsqueeze(2).unbind(0))
        times = ((1000 - sigmas[chosen.start : chosen.stop] * 1000) / 1000).to(self.device)
        texts = [state.embeds[index, : _row(state, index).length] for index in chosen]
        if state.negative_embeds is not None:
            latents, times = latents * 2, times.repeat(2)
            texts += [state.negative_embeds[index, : _row(state, index).negative_length] for index in chosen]
        self._apply_loras(state, chosen, times=1 if state.negative_embeds is None else 2)
        answer: list[torch.Tensor] = self._pipe.transformer(latents, times, texts, return_dict=False)[0]
        return answer

    @torch.no_grad()
    def preview(self, state: Pass) -> dict[str, bytes]:
        if state.velocity is None or state.velocity.shape != state.latents.shape:
            return dict.fromkeys(state.keys, b"")
        sigmas = torch.stack([row.sigmas[row.index] for row in state.rows]).to(self.device)
        x0 = state.latents - sigmas[:, None, None, None] * state.velocity
        return dict(zip(state.keys, map(encode_preview, self._map.apply(x0).cpu()), strict=True))

    # 3. Out of the pass

    def decoder(self) -> Decoder:
        return ZImageDecoder(self._vae)

    @torch.no_grad()
    def _fit_map(self) -> LatentMap:
        vae = self._vae
        decoder = ZImageDecoder(vae)

        def roundtrip(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            raw = vae.encode(pictures.to(vae.dtype)).latent_dist.mode()
            return (raw - vae.config.shift_factor) * vae.config.scaling_factor, decoder.decode_raw(raw)

        return fit_latent_map(roundtrip, factor=self._factor, device=self.device)


class ZImageDecoder:
    """See `Decoder`. `AutoencoderKL` holds no state while it works: two threads may share one."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    @torch.no_grad()
    def decode(self, latents: RowLatents) -> torch.Tensor:
        vae = self._vae
        scaled = latents.tensor.to(next(vae.parameters()).device, vae.dtype) / vae.config.scaling_factor
        return self.decode_raw(scaled + vae.config.shift_factor)[0]

    @torch.no_grad()
    def decode_raw(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) in the VAE's own scale → (B, 3, H, W), 0 to 1; roundings as the image processor's."""
        decoded: torch.Tensor = self._vae.decode(raw, return_dict=False)[0]
        return (decoded * 0.5 + 0.5).clamp(0, 1)


def guidance_scale(true_cfg_scale: float) -> float:
    """The pipeline's number for ours: it adds its guidance to 1 and runs CFG above 0, so that 1.0 would double both."""
    return true_cfg_scale - 1


def _row(state: Pass, index: int) -> _Row:
    row = state.rows[index]
    if not isinstance(row, _Row):
        raise TypeError(f"row {row.key} was not begun by this family")
    return row


def _even_grid(steps: int) -> Sequence[float]:
    """As `ZImagePipeline` makes it: in FP32, which is another number now and then than in FP64."""
    return torch.linspace(1.0, 1 / steps, steps).tolist()


def _end_early(encoder: Any) -> None:
    """Take off the last layer and the norm behind it: the pipeline reads what comes before them."""
    if len(encoder.layers) < 2:
        raise ValueError(f"the text encoder has {len(encoder.layers)} layers, the family reads the last but one")
    encoder.layers = encoder.layers[:-1]
    encoder.norm = nn.Identity()


def _split_template(tokenizer: Any) -> tuple[str, str]:
    """What the checkpoint's chat template puts before and behind a prompt."""
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": _PLACE}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    head, place, tail = text.partition(_PLACE)
    if not place:
        raise ValueError("the tokenizer's chat template drops the prompt")
    return head, tail
