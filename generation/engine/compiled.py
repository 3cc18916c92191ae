"""Regional compilation: a transformer's repeated blocks are one graph, compiled once for all of them. GPU worker only.

Graphs are made for whatever the blocks have not seen yet: the first size, then one for sizes of any kind, one more for
more rows than one, and each number of LoRAs (`slots.py` sees to it that their names, ranks and strengths are none). A
compiler that fails costs speed and no picture: the model draws on without it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._dynamo import config as dynamo_config
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from generation.engine.compilecache import CACHE_BYTES, prune_cache
from generation.engine.memory import is_out_of_memory

logger = logging.getLogger(__name__)

# Of one block's code. torch's own 8 are too few for five numbers of LoRAs, one row or more, with a mask or without.
# One more raises, since graphs must be whole, and the model goes on without the compiler.
MOST_GRAPHS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """How to compile. `cache`: the folder that keeps what was compiled, at most `cache_bytes`; None leaves it to torch.

    `on_cpu`: a CPU compiles for minutes and gains little, so it does not unless asked to.
    """

    backend: str | Callable[..., Any] = "inductor"
    cache: Path | None = None
    cache_bytes: int = CACHE_BYTES
    on_cpu: bool = False

    def why_not(self, *, wanted: bool, device: torch.device, offload: str) -> str:
        """The reason why a model's blocks are not compiled; empty where they are."""
        if not wanted:
            return "its entry does not ask for it"
        if device.type == "cpu" and not self.on_cpu:
            return "a CPU gains little from it"
        if offload != "none":
            return f"it is offloaded ({offload})"
        return ""


class CompiledBlocks:
    """The compiled blocks of one transformer. `on` until the compiler fails; then `reason` says why it went off.

    `seen` is for whoever draws: the shapes that there are graphs for.
    """

    def __init__(self, transformer: Any, compiler: Compiler) -> None:
        self.on = True
        self.reason = ""
        self.seen: set[Hashable] = set()
        if compiler.cache is not None:
            _use_cache(compiler.cache, most_bytes=compiler.cache_bytes)
        dynamo_config.recompile_limit = max(dynamo_config.recompile_limit, MOST_GRAPHS)
        transformer.compile_repeated_blocks(fullgraph=True, backend=compiler.backend)
        self._blocks = {block: block._compiled_call_impl for block in transformer.modules() if _is_compiled(block)}
        self._forward = transformer.forward
        transformer.forward = self._run

    def switch(self, on: bool) -> None:
        """Draw with the compiled blocks, or with the same blocks as they are."""
        self.on = on
        for block, compiled in self._blocks.items():
            block._compiled_call_impl = compiled if on else None

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """The transformer's forward. One that the compiler fails in is repeated without it."""
        try:
            return self._forward(*args, **kwargs)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            if not self.on or is_out_of_memory(error.__cause__ or error):
                raise
            self.reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        logger.warning("blocks cannot be compiled, drawing goes on without: %s", self.reason)
        self.switch(False)
        return self._forward(*args, **kwargs)


def _is_compiled(module: torch.nn.Module) -> bool:
    return module._compiled_call_impl is not None


def _use_cache(folder: Path, *, most_bytes: int) -> None:
    """From here on this process keeps compiled code there, and finds what others compiled."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prune_cache(folder, most_bytes=most_bytes, now=time.time())
    except OSError as error:
        logger.warning("compiled blocks are not kept: %s", error)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
