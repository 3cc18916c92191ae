"""A pass that nobody listens to: a worker's warm-up, a benchmark's. Without torch and without Django."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NoHooks:
    """See `generation.engine.outcome.Hooks`."""

    def phase(self, name: Any, detail: Mapping[str, Any]) -> None:
        return None

    def step(self, step: int, steps: int, previews: Mapping[str, bytes]) -> None:
        return None

    def cancelled(self) -> set[str]:
        return set()

    def stop(self) -> bool:
        return False
