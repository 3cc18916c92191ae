"""Telling out of memory from every other failure. GPU worker only: torch at the top."""

from __future__ import annotations

import torch

from generation.engine.errors import OutOfMemory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left: torch says it in three ways."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def name_failure(error: Exception) -> Exception:
    """`OutOfMemory` where that is what happened, with torch's own words as its cause; else the error itself."""
    if not is_out_of_memory(error):
        return error
    named = OutOfMemory("one picture of this size does not fit the memory")
    named.__cause__ = error.with_traceback(None)  # the traceback would keep the tensors alive
    return named
