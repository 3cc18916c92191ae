"""What came of one call: filled while it goes on, so that whoever settles it knows as much as there is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from generation.chat.deltas import Delta, Usage
from generation.chat.tokens import BYTES_PER_TOKEN

Outcome = Literal["running", "done", "stopped", "client_gone", "refused", "unavailable", "broken", "blocked", "revoked"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(slots=True)
class CallRecord:
    """Times in milliseconds from the call. Tokens are the upstream's where it counted, else estimated by length.

    `outcome`: `stopped` by a rule of the tenant's, `refused` by the upstream (4xx), `unavailable` (no upstream began),
    `broken` (it broke off), `blocked` (a filter failed), `client_gone`, `revoked` (its caller may not any longer, or
    the studio stops).
    """

    prompt_estimate: int = 0
    upstream: str | None = None
    outcome: Outcome = "running"
    finish: str | None = None
    attempts: int = 0
    first_byte_ms: int | None = None
    total_ms: int | None = None
    usage: Usage | None = None
    _bytes: int = 0
    _began: float = field(default_factory=time.monotonic)

    @property
    def is_estimated(self) -> bool:
        """Whether the upstream has not counted the prompt, or not the answer."""
        return self.usage is None or not self.usage.prompt or self._is_uncounted

    @property
    def tokens_in(self) -> int:
        """Of the prompt; none where no upstream began to read it."""
        if self.usage is not None and self.usage.prompt:
            return self.usage.prompt
        return self.prompt_estimate if self.first_byte_ms is not None else 0

    @property
    def tokens_out(self) -> int:
        """Of the answer, as far as it came."""
        if self.usage is not None and not self._is_uncounted:
            return self.usage.completion
        return -(-self._bytes // BYTES_PER_TOKEN)

    @property
    def _is_uncounted(self) -> bool:
        """Whether words came that the upstream gives for nothing: some count the prompt alone."""
        return self.usage is not None and not self.usage.completion and self._bytes > 0

    def note_first_byte(self) -> None:
        """The upstream has begun."""
        self.first_byte_ms = self._elapsed_ms()

    def note(self, delta: Delta) -> None:
        """One step of the answer, as the upstream gave it."""
        self._bytes += _bytes_of(delta.text)
        if delta.reasoning:
            self._bytes += _bytes_of(delta.reasoning)
        for piece in delta.tool_calls:
            self._bytes += len(piece.name) + len(piece.arguments)
        if delta.usage is not None:
            self.usage = delta.usage
        if delta.finish is not None:
            self.finish = delta.finish

    def end(self, outcome: Outcome) -> None:
        """It is over; the first end counts."""
        if self.outcome == "running":
            self.outcome = outcome
        if self.total_ms is None:
            self.total_ms = self._elapsed_ms()

    def counted(self) -> Usage:
        """The usage that the client is told."""
        if self.usage is not None and not self.is_estimated:
            return self.usage
        reasoning, cached = (self.usage.reasoning, self.usage.cached) if self.usage else (0, 0)
        return Usage(prompt=self.tokens_in, completion=self.tokens_out, reasoning=reasoning, cached=cached)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)


def _bytes_of(text: str) -> int:
    # Counting bytes of ASCII text is free; a character beyond it has about three.
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
