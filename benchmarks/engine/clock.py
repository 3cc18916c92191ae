"""Seconds and bytes on either kind of device."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import torch


def synchronize(device: torch.device) -> None:
    """Wait for everything that was sent to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(call: Callable[[], object], *, device: torch.device, calls: int) -> float:
    """Seconds of one of `calls` calls in a row, by the device's own clock."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - began) / calls
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    synchronize(device)
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000 / calls


def forget_peak(device: torch.device) -> None:
    """The next peak begins here. A CPU's process has one peak only, from its beginning."""
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most that tensors took on the GPU since `forget_peak`; on a CPU the most that the process took at all."""
    if device.type == "cuda":
        synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
