"""What the engine runs on, and in which dtype. torch is imported inside functions: `DeviceInfo` travels to the web."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """`key` names the hardware in cost tables and receipts ("NVIDIA H200", "cpu-avx512_bf16"). Memory in bytes."""

    kind: str  # "cuda" or "cpu" (torch's device type)
    name: str
    key: str
    memory_total: int
    memory_free: int
    bf16: bool


def describe_device(device: str | None = None) -> DeviceInfo:
    """Look at the device that `load_model` would use (CUDA where there is one, else the CPU), or at a named one."""
    import torch  # heavy, and never to be loaded by a web process

    chosen = pick_device(device)
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        name = torch.cuda.get_device_name(chosen)
        bf16 = torch.cuda.get_device_capability(chosen) >= (8, 0)
        return DeviceInfo(kind="cuda", name=name, key=name, memory_total=total, memory_free=free, bf16=bf16)
    total, free = _read_memory()
    bf16 = cpu_has_bf16()
    level = "bf16" if bf16 else "fp32"
    if bf16 and platform.machine() in ("x86_64", "AMD64"):
        level = "amx_bf16" if "amx_bf16" in _cpu_flags() else "avx512_bf16"
    return DeviceInfo(
        kind=chosen.type, name=_cpu_name(), key=f"cpu-{level}", memory_total=total, memory_free=free, bf16=bf16
    )


def pick_device(device: str | None = None) -> torch.device:
    """The named device, else CUDA where there is one, else the CPU."""
    import torch  # see describe_device

    if device is not None:
        return torch.device(device)
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def pick_dtype(device: torch.device) -> tuple[torch.dtype, str]:
    """BF16 everywhere, except on hardware without BF16 instructions; the text says why, for logs and receipts."""
    import torch  # see describe_device

    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16, "BF16: the GPU has BF16 instructions"
        return torch.float32, "FP32: the GPU is older than compute capability 8.0 and has no BF16 instructions"
    if cpu_has_bf16():
        return torch.bfloat16, "BF16: the CPU has BF16 instructions"
    # Emulated BF16 convolutions took 3,141 ms where FP32 took 40 ms.
    return torch.float32, "FP32: the CPU has no BF16 instructions (or they are switched off)"


def cpu_has_bf16() -> bool:
    """Whether the CPU computes in BF16 itself and oneDNN may use it (ONEDNN_MAX_CPU_ISA can forbid it)."""
    import torch  # see describe_device

    flags = _cpu_flags()
    if not flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _cpu_flags() -> frozenset[str]:
    """Instruction flags as Linux lists them (x86: flags, arm64: Features); empty elsewhere, which means FP32."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no /proc (macOS): the platform's own word follows
    return platform.processor() or platform.machine()


def _read_memory() -> tuple[int, int]:
    """Total and available main memory in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return total, int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc (macOS): say that all of it may be had
    return total, total
