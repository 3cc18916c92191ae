"""The product's engine with a watch on its transformer, for `gpuworker --engine benchmarks.engine.timed:TimedEngine`.

`BENCH_PASSES` names a file: one line of JSON for each pass. `BENCH_SCALE` says how large `random/…` models are, and
`BENCH_CACHE` where their compiled code is kept (default: where the studio's is).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from generation.worker.engine import TorchEngine

if TYPE_CHECKING:
    from generation.engine.catalog import ModelSpec
    from generation.engine.loader import LoadedModel
    from generation.engine.outcome import Hooks, PassOutcome
    from generation.engine.request import PassRow


class TimedEngine(TorchEngine):
    """See `generation.worker.engine.Engine`."""

    def __init__(self) -> None:
        self._record = Path(os.environ["BENCH_PASSES"])
        self._watch: Watch | None = None

    def load(self, spec: ModelSpec) -> LoadedModel:
        from benchmarks.engine import checkpoints  # imports torch

        model = self._build(spec) if spec.path.startswith(checkpoints.PATH) else super().load(spec)
        self._watch = Watch(model)
        return model

    def _build(self, spec: ModelSpec) -> LoadedModel:
        from benchmarks.engine.checkpoints import PATH, build_pipeline  # imports torch
        from generation.engine.compiled import Compiler
        from generation.engine.device import pick_device, pick_dtype
        from generation.engine.loader import build_model

        device = pick_device()
        dtype, _ = pick_dtype(device)
        name = spec.path.removeprefix(PATH)
        pipe = build_pipeline(name, os.environ["BENCH_SCALE"], device=device, dtype=dtype)
        cache = Path(os.environ.get("BENCH_CACHE") or settings.STUDIO_VAR / "compiled")
        return build_model(pipe, spec=spec, device=device, compiler=Compiler(cache=cache))

    def run(self, model: LoadedModel, rows: Sequence[PassRow], hooks: Hooks) -> PassOutcome:
        began, shapes = time.time(), count_shapes(model)
        outcome = super().run(model, rows, hooks)
        assert self._watch is not None
        line = {"began": began, "ended": time.time(), "rows": len(rows), **self._watch.read()}
        line["new_shapes"] = count_shapes(model) - shapes
        with self._record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return outcome


def count_shapes(model: LoadedModel) -> int:
    """How many shapes the compiled blocks have seen; 0 where there are none."""
    return len(model.blocks.seen) if model.blocks else 0


class Watch:
    """How long the transformer ran, by the device's own clock."""

    def __init__(self, model: LoadedModel) -> None:
        self._cuda = model.device.kind == "cuda"
        self._open: list[Any] = []
        self._spans: list[tuple[Any, Any]] = []
        transformer = model.family._pipe.transformer  # type: ignore[attr-defined]
        transformer.register_forward_pre_hook(lambda *args: self._open.append(self._now()))
        transformer.register_forward_hook(lambda *args: self._spans.append((self._open.pop(), self._now())))

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        import torch  # loaded by now

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def read(self) -> dict[str, Any]:
        """Since the last reading. A forward that raised is not in it."""
        spans, self._spans, self._open = self._spans, [], []
        if self._cuda and spans:
            spans[-1][1].synchronize()
        seconds = [start.elapsed_time(end) / 1000 if self._cuda else end - start for start, end in spans]
        return {"transformer_s": sum(seconds), "forwards": len(seconds)}
