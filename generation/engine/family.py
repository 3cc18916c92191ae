"""What a family of models must offer, and the state of a pass. Imported by the GPU worker only: torch at the top.

All that diffusers keeps on pipeline and scheduler objects (step index, sigmas, generators, embeddings) lives in a
`Pass` here, one step index per row. So rows can join, leave and be parked between any two steps, and nothing is shared
between two passes but the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch

from generation.engine.paste import Paste
from generation.engine.request import LoraUse, PassRow
from generation.engine.starts import Start

if TYPE_CHECKING:
    from generation.engine.adapters import Adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a family's rows may ask for. Sizes in pixels; empty `length_buckets` mean exact text lengths."""

    size_multiple: int
    max_width: int
    max_height: int
    min_steps: int
    max_steps: int
    max_prompt_tokens: int
    batch_max: int
    length_buckets: tuple[int, ...]
    tasks: tuple[str, ...]
    max_loras: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """How many tokens a prompt has (without the template around it) and how many of them the model reads."""

    used: int
    total: int

    @property
    def cut(self) -> bool:
        return self.used < self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """One prompt, encoded alone. `embeds`: (length, dim) in the model's dtype on its device, unpadded."""

    embeds: torch.Tensor
    tokens: TokenCount

    @property
    def length(self) -> int:
        return int(self.embeds.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The pictures that an edit looks at. `latents`: (1, tokens, channels × 4); `grids`: rows and columns of each."""

    latents: torch.Tensor = field(repr=False)
    grids: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowConds:
    """What `encode` gives for one row.

    `negative` is None unless true CFG runs, `start` unless it begins from a picture, `reference` unless it edits.
    """

    positive: Conditioning
    negative: Conditioning | None = None
    start: Start | None = None
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class PassShape:
    """What rows must agree on to share one forward. Steps, seeds and all strengths may differ per row.

    `inpaint`: parts of the pictures are kept. `references`: the grids of the pictures that are looked at. `loras` are
    the sorted SHA-256 of their files: how strong each is, a row says for itself.
    """

    width: int
    height: int
    bucket: int
    negative_bucket: int | None
    loras: tuple[str, ...] = ()
    inpaint: bool = False
    references: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True, kw_only=True)
class RowState:
    """One row on its way: `index` of the next step, `sigmas` FP32 on the CPU, (steps + 1,), the last one 0.

    `lora_scales`: one strength for each LoRA of the pass, in its order.
    """

    key: str
    true_cfg_scale: float
    sigmas: torch.Tensor
    tokens: TokenCount
    lora_scales: tuple[float, ...] = ()
    index: int = 0
    paste: Paste | None = None

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def finished(self) -> bool:
        return self.index >= self.steps


@dataclass(slots=True, kw_only=True)
class Pass:
    """Rows that are drawn together. First dimension of every tensor: `rows`, in their order.

    `latents`, `velocity`: (B, image tokens, channels × 4), the model's dtype; `velocity` is the last prediction.
    `embeds`: (B, bucket, dim); `mask`: (B, bucket) bool, None only for exact lengths. `negative_*` likewise under CFG.
    `loras`: the files of `shape.loras`, in its order; their strengths are the rows'. `clean`, `noise` and `repaint` are
    there in an inpainting only, like `latents`: the pictures, their noise, and 1 where they are drawn anew.
    `references`: in an edit, (B, tokens of its pictures, channels × 4).
    """

    shape: PassShape
    rows: list[RowState]
    latents: torch.Tensor
    embeds: torch.Tensor
    mask: torch.Tensor | None
    negative_embeds: torch.Tensor | None = None
    negative_mask: torch.Tensor | None = None
    velocity: torch.Tensor | None = None
    loras: tuple[LoraUse, ...] = ()
    clean: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    repaint: torch.Tensor | None = None
    references: torch.Tensor | None = None

    @property
    def keys(self) -> list[str]:
        return [row.key for row in self.rows]

    @property
    def finished(self) -> list[str]:
        return [row.key for row in self.rows if row.finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A pass whose tensors were moved to main memory; `resume` continues it exactly where it stood."""

    state: Pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLatents:
    """One drawn row, ready for a tail. `tensor`: (1, image tokens, channels × 4); sizes in pixels."""

    key: str
    tensor: torch.Tensor = field(repr=False)
    width: int
    height: int
    paste: Paste | None = None


class Decoder(Protocol):
    """Turns latents into pictures with weights of its own. Not for two threads at once."""

    def decode(self, latents: RowLatents) -> torch.Tensor:
        """The picture as (3, height, width), the VAE's dtype, from 0 to 1, on the device."""


class Family(Protocol):
    """One family of models: the denoising loop in pieces, so that the caller decides what happens between steps."""

    limits: Limits
    device: torch.device
    dtype: torch.dtype

    @property
    def adapters(self) -> Adapters | None:
        """Its user LoRAs; None where it takes none, and `limits.max_loras` is 0."""

    def check(self, row: PassRow) -> None:
        """Raises RowRefused, naming field and bound, when this model cannot draw `row`."""

    def count_tokens(self, prompt: str) -> TokenCount:
        """How many tokens the prompt has and how many are read. Touches no weights."""

    def encode(self, row: PassRow) -> RowConds:
        """Encode one row's prompts alone (cached by hash). Special tokens that users type are text."""

    def plan(self, row: PassRow, conds: RowConds) -> PassShape:
        """The shape of the pass that may take this row."""

    def begin(self, rows: Sequence[PassRow], conds: Sequence[RowConds]) -> Pass:
        """Noise from CPU generators, sigmas as data, padded embeddings. Raises ValueError when shapes differ."""

    def step(self, state: Pass) -> None:
        """One step for every row, each at its own index, in place. Raises ValueError when a row is finished."""

    def preview(self, state: Pass) -> dict[str, bytes]:
        """After a step: each row's predicted picture as a small WebP of at most 4 kB. Waits for the device."""

    def drop(self, state: Pass, keys: set[str]) -> None:
        """Take rows out, in place; the others are not touched."""

    def join(self, state: Pass, newcomers: Pass) -> None:
        """Take the rows of another pass of the same shape in, in place. Raises ValueError when shapes differ."""

    def park(self, state: Pass) -> Parked:
        """Move a pass to main memory; `state` may then be thrown away."""

    def resume(self, parked: Parked) -> Pass:
        """A pass on the device again, exactly as it was parked."""

    def latents(self, state: Pass) -> list[RowLatents]:
        """Copies of the finished rows' latents: from here on the transformer is free."""

    def decoder(self) -> Decoder:
        """A new decoder with its own VAE, for one thread."""
