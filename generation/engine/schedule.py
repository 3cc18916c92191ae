"""Noise levels as data: a pass carries its sigmas, no scheduler object is shared. GPU worker only: torch at the top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift

_LEAST = 0.001  # of a step, so that any strength above 0 runs one
Grid = Callable[[int], Sequence[float]]


def even_grid(steps: int) -> Sequence[float]:
    """Evenly spaced noise levels from 1 down to 1 / steps, before any shift: Qwen-Image's."""
    grid: Sequence[float] = np.linspace(1.0, 1 / steps, steps).tolist()
    return grid


class Schedule:
    """Sigmas by steps and image length, computed by diffusers' own scheduler class, a fresh one each time.

    `config` is the checkpoint's scheduler config; `overrides` and `fixed` come from the model's entry: a turbo LoRA
    without its schedule draws wrong pictures. `grid` gives the levels that the scheduler then shifts.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        overrides: Mapping[str, Any],
        fixed: tuple[float, ...] = (),
        grid: Grid = even_grid,
    ) -> None:
        self.config = {**config, **overrides}
        self._fixed = fixed
        self._grid = grid
        self._cached = lru_cache(maxsize=256)(self._compute)
        if self.config.get("stochastic_sampling"):
            raise ValueError("scheduler stochastic_sampling draws noise in every step, set it to false")
        if self.config.get("invert_sigmas"):
            raise ValueError("scheduler invert_sigmas is not for this family, set it to false")

    def sigmas(self, *, steps: int, image_tokens: int) -> torch.Tensor:
        """FP32 on the CPU, (steps + 1,), the last one 0. Raises ValueError when a fixed schedule has other steps."""
        return self._cached(steps, image_tokens)

    def _compute(self, steps: int, image_tokens: int) -> torch.Tensor:
        if self._fixed:
            if len(self._fixed) != steps:
                raise ValueError(
                    f"num_inference_steps {steps} is not possible, this model always takes {len(self._fixed)}"
                )
            return torch.tensor([*self._fixed, 0.0], dtype=torch.float32)
        scheduler_class: Any = FlowMatchEulerDiscreteScheduler  # its from_config has no types
        scheduler = scheduler_class.from_config(self.config)
        mu = calculate_shift(
            image_tokens,
            scheduler.config.get("base_image_seq_len", 256),
            scheduler.config.get("max_image_seq_len", 4096),
            scheduler.config.get("base_shift", 0.5),
            scheduler.config.get("max_shift", 1.15),
        )
        scheduler.set_timesteps(sigmas=self._grid(steps), mu=mu, device="cpu")
        sigmas: torch.Tensor = scheduler.sigmas
        return sigmas.to(torch.float32)


def begin_at(sigmas: torch.Tensor, strength: float) -> torch.Tensor:
    """The end of a schedule that a picture of this `strength` runs; its first level follows the strength continuously.

    The pipelines begin at one of the schedule's own levels, so that four steps know four strengths. Here the first
    level lies between its two neighbours where the strength does; where steps × strength is whole, both agree.
    """
    steps = len(sigmas) - 1
    at = steps - max(round(steps * strength, 6), _LEAST)
    whole = int(at)
    levels = sigmas[whole:].clone()
    levels[0] += (at - whole) * (levels[1] - levels[0])
    return levels


def model_timesteps(sigmas: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What the transformer is told: t = 1000 σ rounded to the model's dtype, then / 1000.

    The pipeline rounds before it divides: σ = .75 arrives as .7539 in BF16, and the weights were judged with that.
    """
    return (sigmas * 1000).to(dtype) / 1000
