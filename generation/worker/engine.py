"""The seam between worker and engine: the only place of the worker that loads torch, and only when it is asked to.

The worker needs three things of an engine: load a model, run a pass, finish pictures in a tail. `TorchEngine` is the
product's; another one can be named by its dotted path (`gpuworker --engine`), which is how the chaos tests drive this
very worker with an engine that sleeps.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from django.conf import settings

if TYPE_CHECKING:
    from generation.engine.catalog import ModelSpec
    from generation.engine.device import DeviceInfo
    from generation.engine.family import RowLatents
    from generation.engine.loader import LoadedModel
    from generation.engine.outcome import Hooks, PassOutcome
    from generation.engine.request import PassRow
    from generation.engine.tail import TailResult

    Phase = Callable[[Any, Mapping[str, Any]], None]


class TailLike(Protocol):
    """What the worker uses of `generation.engine.tail.Tail`."""

    @property
    def pending(self) -> int: ...

    def submit(
        self,
        latents: RowLatents,
        callback: Callable[[TailResult], None],
        *,
        fmt: Any = "png",
        quality: int | None = None,
    ) -> None: ...

    def drain(self, timeout: float | None = None) -> bool: ...

    def close(self, timeout: float | None = None) -> bool: ...


class Engine(Protocol):
    """An engine as the worker sees it."""

    def describe(self) -> DeviceInfo:
        """The device that models would be loaded onto."""

    def load(self, spec: ModelSpec) -> LoadedModel:
        """Raises CheckpointError with what the operator should know; whatever else it raises goes to the log only."""

    def run(self, model: LoadedModel, rows: Sequence[PassRow], hooks: Hooks) -> PassOutcome:
        """One pass."""

    def tail(self, model: LoadedModel, phase: Phase) -> TailLike:
        """A thread that decodes and stores."""

    def memory_used(self) -> int:
        """Bytes that this process holds on the device."""

    def sweep(self) -> None:
        """A model was let go: give its memory back to the device."""


class TorchEngine:
    """`generation.engine`, on a GPU or a CPU."""

    def describe(self) -> DeviceInfo:
        from generation.engine.device import describe_device  # imports torch

        return describe_device()

    def load(self, spec: ModelSpec) -> LoadedModel:
        from generation.engine.compiled import Compiler  # imports torch
        from generation.engine.loader import load_model  # likewise

        compiler = Compiler(cache=settings.STUDIO_VAR / "compiled")
        return load_model(spec, offload=offload_of(spec), hub_offline=settings.HF_HUB_OFFLINE, compiler=compiler)

    def run(self, model: LoadedModel, rows: Sequence[PassRow], hooks: Hooks) -> PassOutcome:
        from generation.engine.run import run_pass  # imports torch

        return run_pass(model, rows, hooks)

    def tail(self, model: LoadedModel, phase: Phase) -> TailLike:
        from generation.engine.tail import Tail  # imports torch

        return Tail(model, phase=phase)

    def memory_used(self) -> int:
        import torch  # loaded by now

        if torch.cuda.is_available():
            return int(torch.cuda.memory_reserved())
        return resident_bytes()

    def sweep(self) -> None:
        import torch  # loaded by now

        gc.collect()  # modules and their hooks hold each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def offload_of(spec: ModelSpec) -> str:
    """How a model is offloaded here: the installation's word, else the entry's."""
    return settings.STUDIO_OFFLOAD if settings.STUDIO_OFFLOAD != "none" else spec.offload


def find_engine(path: str) -> Engine:
    """The engine named by `module:attribute`. Raises ValueError when there is none."""
    module, colon, name = path.partition(":")
    try:
        make = getattr(import_module(module), name) if colon else None
    except (ImportError, AttributeError) as error:
        raise ValueError(f"engine {path!r} cannot be imported: {error}") from error
    if make is None:
        raise ValueError(f"engine {path!r} must be module:attribute")
    return cast(Engine, make())


def resident_bytes() -> int:
    """Main memory this process holds; 0 where /proc is missing (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096
