"""What families share that draw each row by its own conditioning. GPU worker only: torch at the top.

`RowFamily` checks rows, encodes each prompt alone, begins a pass, and moves rows in and out of it; a family adds how
prompts and pictures are encoded, how noise is drawn, and what one step computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from generation.engine.adapters import Adapters
from generation.engine.catalog import ModelSpec
from generation.engine.errors import RowRefused
from generation.engine.family import (
    Conditioning,
    Limits,
    Parked,
    Pass,
    PassShape,
    RowConds,
    RowLatents,
    RowState,
    TokenCount,
)
from generation.engine.inputs import fit, read_input
from generation.engine.lorarules import RULES
from generation.engine.paste import Paste
from generation.engine.prompts import PromptCache, TemplateTokens, pad_embeds
from generation.engine.request import PassRow, length_bucket
from generation.engine.schedule import Schedule, begin_at
from generation.engine.starts import Newest, Start, begin_from, binary, mask_latents

# What a `Pass` holds per row, first dimension = rows.
_TENSORS = (
    "latents", "embeds", "mask", "negative_embeds", "negative_mask", "velocity", "clean", "noise", "repaint",
    "references",
)  # fmt: skip


class RowFamily:
    """See `Family`. Subclasses set `limits`, `device`, `dtype`, `_tokens` and `_buckets` before a row comes."""

    limits: Limits
    device: torch.device
    dtype: torch.dtype
    adapters: Adapters
    _tokens: TemplateTokens
    _buckets: tuple[int, ...]
    _schedule: Schedule
    _factor: int  # picture pixels per latent, a side
    _patch: int  # and per token
    _row_class: type[RowState] = RowState
    _masked = False  # whether the transformer is told how long each text is

    def __init__(self, *, pipe: Any, spec: ModelSpec) -> None:
        self._pipe = pipe
        self._cache = PromptCache()
        self._starts: Newest[tuple[str, str, int, int], Start] = Newest()
        self._pictures: Newest[tuple[str, int, int], torch.Tensor] = Newest()  # as latents
        self.adapters = Adapters(
            pipe.transformer,
            rules=RULES[spec.family],
            most_bytes=spec.lora_cache_bytes,
            max_rank=spec.max_lora_rank,
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
        if row.task not in limits.tasks:
            raise RowRefused(f"task {row.task} is not one of this model's: {', '.join(limits.tasks)}")

    def count_tokens(self, prompt: str) -> TokenCount:
        return self._tokens.read(prompt)[1]

    @torch.no_grad()
    def encode(self, row: PassRow) -> RowConds:
        negative = self._encode_cached(row.negative_prompt) if row.guided else None
        return RowConds(positive=self._encode_cached(row.prompt), negative=negative, start=self._find_start(row))

    def _encode_cached(self, prompt: str) -> Conditioning:
        cond = self._cache.get(prompt)
        if cond is None:
            cond = self._encode_prompt(prompt)
            self._cache.put(prompt, cond)
        return cond

    def _encode_prompt(self, prompt: str) -> Conditioning:
        raise NotImplementedError

    def _find_start(self, row: PassRow) -> Start | None:
        """Its picture as latents, and its mask. Raises InputRefused."""
        if row.task not in ("image-to-image", "inpaint"):
            return None
        key = (row.images[0].sha256, row.mask.sha256 if row.mask else "", row.width, row.height)
        return self._starts.get(key, lambda: self._make_start(row))

    def _make_start(self, row: PassRow) -> Start:
        processor, size = self._pipe.image_processor, {"width": row.width, "height": row.height}
        picture = fit(read_input(row.images[0], mode="RGB"), processor, **size)
        clean = self._pictures.get(
            (row.images[0].sha256, row.width, row.height),
            lambda: self._encode_picture(processor.preprocess(picture, **size).to(self.device)),
        )
        if row.mask is None:
            return Start(clean=clean)
        mask = binary(fit(read_input(row.mask, mode="L"), processor, **size))
        return Start(
            clean=clean,
            repaint=self._spread_mask(mask_latents(mask, factor=self._factor)).to(clean.device, clean.dtype),
            paste=Paste(picture=picture, mask=mask),
        )

    def _encode_picture(self, pixels: torch.Tensor) -> torch.Tensor:
        """(1, 3, height, width) FP32, −1 to 1 → latents in the transformer's scale, laid out as a pass's, (1, …)."""
        raise NotImplementedError

    def _spread_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """(1, 1, h, w) → the layout of a pass's latents, or what broadcasts to it."""
        raise NotImplementedError

    def plan(self, row: PassRow, conds: RowConds) -> PassShape:
        negative = conds.negative
        return PassShape(
            width=row.width,
            height=row.height,
            bucket=length_bucket(conds.positive.length, self._buckets),
            negative_bucket=length_bucket(negative.length, self._buckets) if negative else None,
            loras=tuple(use.sha256 for use in row.stack),
            inpaint=row.mask is not None,
            references=conds.reference.grids if conds.reference else (),
        )

    # 2. A pass

    @torch.no_grad()
    def begin(self, rows: Sequence[PassRow], conds: Sequence[RowConds]) -> Pass:
        shape = self._agree(rows, conds)
        state = Pass(
            shape=shape,
            rows=[self._begin_row(row, cond) for row, cond in zip(rows, conds, strict=True)],
            latents=torch.cat([self._draw_noise(row) for row in rows]).to(self.device),
            loras=rows[0].stack,
            **self._stack(shape, conds),
        )
        begin_from(state, [cond.start for cond in conds])
        if shape.references:
            state.references = torch.cat([cond.reference.latents for cond in conds if cond.reference])
        return state

    def _begin_row(self, row: PassRow, conds: RowConds) -> RowState:
        image_tokens = (row.width // self._patch) * (row.height // self._patch)
        sigmas = self._schedule.sigmas(steps=row.num_inference_steps, image_tokens=image_tokens)
        return self._row_class(
            key=row.key,
            true_cfg_scale=row.true_cfg_scale,
            sigmas=begin_at(sigmas, row.strength),
            tokens=conds.positive.tokens,
            lora_scales=tuple(use.scale for use in row.stack),
            paste=conds.start.paste if conds.start else None,
        )

    def _draw_noise(self, row: PassRow) -> torch.Tensor:
        """(1, …), laid out as a pass's, from a generator of its own on the CPU: the same on every device."""
        raise NotImplementedError

    def _agree(self, rows: Sequence[PassRow], conds: Sequence[RowConds]) -> PassShape:
        """The one shape of rows that begin a pass together. Raises ValueError, RowRefused."""
        shapes = {self.plan(row, cond) for row, cond in zip(rows, conds, strict=True)}
        if len(shapes) != 1:
            raise ValueError(f"rows of one pass must have one size, bucket and LoRA stack, got {len(shapes)} shapes")
        for row in rows:
            self.check(row)
        self.adapters.begin()
        return shapes.pop()

    def _stack(self, shape: PassShape, conds: Sequence[RowConds]) -> dict[str, Any]:
        """Embeddings of all rows, (B, bucket, dim), zeros behind each prompt, and masks; the negative ones too."""
        exact = not self._buckets
        embeds, mask = pad_embeds([cond.positive for cond in conds], bucket=shape.bucket, exact=exact)
        found: dict[str, Any] = {"embeds": embeds, "mask": mask if self._masked else None}
        if shape.negative_bucket is not None:
            negatives = [cond.negative for cond in conds if cond.negative is not None]
            negative, mask = pad_embeds(negatives, bucket=shape.negative_bucket, exact=exact)
            found |= {"negative_embeds": negative, "negative_mask": mask if self._masked else None}
        return found

    def _together(self, rows: int) -> int:
        """How many rows share a forward: on a CPU one, where kernels would add in another order for another batch."""
        return rows if self.device.type != "cpu" else 1

    def _apply_loras(self, state: Pass, rows: Sequence[int], *, times: int = 1) -> None:
        """Before each forward of `rows`; `times` where each stands in it more than once, all of them after another."""
        self.adapters.apply(state.loras, [state.rows[index].lora_scales for index in rows] * times)

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
        return Parked(state=self._move(state, torch.device("cpu")))

    def resume(self, parked: Parked) -> Pass:
        return self._move(parked.state, self.device)

    def _move(self, state: Pass, device: torch.device) -> Pass:
        """A copy of everything, on `device`."""
        moved = dataclasses.replace(state, rows=[dataclasses.replace(row) for row in state.rows])
        for name in _TENSORS:
            tensor = getattr(state, name)
            setattr(moved, name, None if tensor is None else tensor.to(device, copy=True))
        return moved

    def latents(self, state: Pass) -> list[RowLatents]:
        return [
            RowLatents(
                key=row.key,
                tensor=state.latents[index : index + 1].clone(),
                width=state.shape.width,
                height=state.shape.height,
                paste=row.paste,
            )
            for index, row in enumerate(state.rows)
            if row.finished
        ]


def steps_now(state: Pass) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's noise level and the next one, (B,) FP32 on the CPU. Raises ValueError when a row is finished."""
    if state.finished:
        raise ValueError(f"rows {', '.join(state.finished)} are finished, take them out before the next step")
    now = torch.stack([row.sigmas[row.index] for row in state.rows])
    after = torch.stack([row.sigmas[row.index + 1] for row in state.rows])
    return now, after


def make_limits(spec: ModelSpec, **changes: Any) -> Limits:
    """What the entry says, with what the checkpoint knows better."""
    values: dict[str, Any] = {
        "size_multiple": spec.size_multiple,
        "max_width": spec.max_width,
        "max_height": spec.max_height,
        "min_steps": spec.min_steps,
        "max_steps": spec.max_steps,
        "max_prompt_tokens": spec.max_prompt_tokens,
        "batch_max": spec.batch_max,
        "length_buckets": spec.length_buckets,
        "tasks": spec.tasks,
        "max_loras": spec.max_loras,
    }
    return Limits(**{**values, **changes})
