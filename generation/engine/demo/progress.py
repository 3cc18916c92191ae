"""What both training stages share: learning rate, moving average, crash-safe state, one line of progress."""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAVE_EVERY_S = 150.0


def learning_rate(step: int, *, steps: int, warmup: int = 30, hold: float = 0.35) -> float:
    """Share of the peak rate: up over `warmup` steps, level until `hold` of all steps, then straight down to 2 %."""
    if step < warmup:
        return step / warmup
    left = (1 - step / steps) / (1 - hold)
    return 0.02 + 0.98 * min(1.0, left)


class MovingAverage:
    """Exponential average of a module's weights; a short memory at the start, `decay` later."""

    def __init__(self, modules: Iterable[nn.Module], decay: float = 0.999) -> None:
        self.decay = decay
        self._live = [p for module in modules for p in module.parameters()]
        self.values = [p.detach().clone() for p in self._live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self._live], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live weights and the average."""
        for live, value in zip(self._live, self.values, strict=True):
            kept = live.detach().clone()
            live.copy_(value)
            value.copy_(kept)

    def load(self, values: list[Tensor]) -> None:
        for mine, value in zip(self.values, values, strict=True):
            mine.copy_(value)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a crash leaves the old file or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


class Progress:
    """Counts the steps of one stage and prints a line with the time left."""

    def __init__(self, stage: str, *, steps: int, start: int = 0, every: int = 50) -> None:
        self.stage, self.steps, self.every = stage, steps, every
        self._start, self._began, self._saved = start, time.monotonic(), time.monotonic()

    def tell(self, step: int, **figures: float) -> None:
        if step % self.every and step != self.steps:
            return
        elapsed = time.monotonic() - self._began
        per_step = elapsed / max(1, step - self._start)
        shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        left = (self.steps - step) * per_step / 60
        self.say(f"{step}/{self.steps} {shown} {per_step * 1000:.0f} ms/step, {left:.1f} min left")

    def say(self, text: str) -> None:
        """One line about this stage."""
        print(f"{self.stage} {text}", file=sys.stderr, flush=True)

    def is_time_to_save(self) -> bool:
        now = time.monotonic()
        if now - self._saved < SAVE_EVERY_S:
            return False
        self._saved = now
        return True
