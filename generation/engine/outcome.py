"""What the worker tells a pass and what a pass tells the worker. Holds latents, so only the GPU worker imports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from generation.engine.family import RowLatents, TokenCount

Phase = Literal["encode", "loras", "compile", "step", "decode", "store"]
Status = Literal["drawn", "failed", "cancelled", "stopped"]


class Hooks(Protocol):
    """How a pass talks to its caller. Called in the thread that runs the pass; an exception here ends the pass."""

    def phase(self, name: Phase, detail: Mapping[str, Any]) -> None:
        """A phase begins (deadlines start anew). `detail` holds sizes and counts, never prompts."""

    def step(self, step: int, steps: int, previews: Mapping[str, bytes]) -> None:
        """Step `step` of `steps` is done for the rows named in `previews` (WebP; empty where none could be made)."""

    def cancelled(self) -> set[str]:
        """Keys of rows that nobody wants any more; asked before each step, those rows are dropped."""

    def stop(self) -> bool:
        """Whether to give up now; asked before each step, unfinished rows end as "stopped"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTimings:
    """Milliseconds of the group that drew the row: its own encoding, all its steps, and each step, while it was there.

    `share_ms` is the row's part of `steps_ms`: of each stretch between two steps, one for each row that was in it. The
    shares of a group add up to the time that it took, whoever left it when.
    """

    encode_ms: float = 0.0
    steps_ms: float = 0.0
    step_ms: tuple[float, ...] = ()
    share_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """How one row ended. `latents` exactly when drawn, `error` exactly when failed.

    `batch_size` and `bucket` are the forward's in which the row was drawn: receipts record them, because they are part
    of a picture's identity (the bucket everywhere, the batch size on GPUs).
    """

    key: str
    status: Status
    latents: RowLatents | None = None
    error: Exception | None = None
    tokens: TokenCount | None = None
    negative_tokens: TokenCount | None = None
    batch_size: int = 0
    bucket: int = 0
    negative_bucket: int | None = None
    steps: int = 0
    timings: RowTimings = field(default_factory=RowTimings)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOutcome:
    """How a pass ended: one entry per row asked for, in their order. `dtype` is "bfloat16" or "float32"."""

    rows: tuple[RowOutcome, ...]
    dtype: str
    hardware: str
    run_ms: float
    halved: int = 0  # how often out of memory halved a batch
    repeated: int = 0  # how often a group was repeated row by row

    def row(self, key: str) -> RowOutcome:
        """Raises KeyError when no such row was asked for."""
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)
