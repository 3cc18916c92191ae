"""What a worker on this machine would compute on, and how its cards are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from django.conf import settings

from qwenstudio.doctor.finding import GIB, Finding

TORCH_S = 120  # importing it from a cold disk
SMI_S = 15
HOT_C = 85
FULL = 0.97
# In a process of its own: this one never loads torch. The driver is asked by its own library, so that a driver that is
# too old for torch still says which CUDA it knows (1000 x major + 10 x minor).
DEVICE_PROGRAM = """
import ctypes, dataclasses, json, torch
from generation.engine.device import describe_device, pick_device, pick_dtype
driver = 0
try:
    version = ctypes.c_int(0)
    if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
        driver = version.value
except OSError:
    pass
found = dataclasses.asdict(describe_device()) | {"dtype": pick_dtype(pick_device())[1]}
print(json.dumps(found | {"wheel": torch.version.cuda or "", "driver": driver}))
"""
COLUMNS = ("index", "name", "driver_version", "temperature.gpu", "memory.used", "memory.total", "utilization.gpu")


def check_device() -> Iterator[Finding]:
    """torch starts, and its CUDA is one that the driver knows."""
    if find_spec("torch") is None:
        yield Finding("ok", "device", "no torch here: this machine serves pages, workers run elsewhere")
        return
    line = [sys.executable, "-c", DEVICE_PROGRAM]
    try:
        done = subprocess.run(line, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=TORCH_S)
    except subprocess.TimeoutExpired:
        yield Finding("fail", "device", f"torch does not start within {TORCH_S} s", "nvidia-smi; restart the machine")
        return
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding("fail", "device", f"torch does not start: {reason}", "pip install -r requirements.txt")
        return
    device = json.loads(done.stdout.splitlines()[-1])
    gib = device["memory_total"] / GIB
    yield Finding("ok", "device", f"{device['name']}, {gib:,.0f} GiB; {device['dtype']}")
    yield from judge_driver(device)


def judge_driver(device: dict[str, Any]) -> Iterator[Finding]:
    """The CUDA of torch's wheel against the newest one that the driver knows; minor versions are compatible."""
    wheel, driver = str(device.get("wheel") or ""), int(device.get("driver") or 0)
    on_cpu, known = device["kind"] == "cpu", f"{driver // 1000}.{driver % 1000 // 10}"
    if not driver:
        if on_cpu:
            yield Finding("ok", "device", "no GPU: the demo model runs, a large model would take minutes a picture")
    elif not wheel:
        text = f"there is an NVIDIA driver (CUDA {known}), and torch is the build for CPUs"
        yield Finding("fail", "driver", text, "install torch's CUDA build: pip install -r requirements.txt")
    elif int(wheel.split(".")[0]) > driver // 1000:
        text = f"torch was built for CUDA {wheel}, the driver knows {known} at most"
        yield Finding("fail", "driver", text, "install a newer driver (nvidia-smi shows the present one) and restart")
    elif on_cpu:
        text = f"the driver knows CUDA {known}, torch (CUDA {wheel}) sees no card"
        yield Finding("fail", "driver", text, "look at CUDA_VISIBLE_DEVICES, then at nvidia-smi and dmesg")
    else:
        yield Finding("ok", "driver", f"knows CUDA {known}, torch was built for {wheel}")


def check_cards() -> Iterator[Finding]:
    """Temperature and memory of each card, as the driver's own program tells them."""
    if shutil.which("nvidia-smi") is None:
        return
    line = ["nvidia-smi", f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=SMI_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("fail", "cards", f"nvidia-smi: {type(error).__name__}", "dmesg | grep -i nvrm; restart")
        return
    if done.returncode != 0:
        said = (done.stdout.strip() or done.stderr.strip() or "it said nothing").splitlines()[0]
        yield Finding("fail", "cards", f"nvidia-smi: {said}", "dmesg | grep -i nvrm; install the driver again, restart")
        return
    for row in done.stdout.splitlines():
        words = [word.strip() for word in row.split(",")]
        if len(words) == len(COLUMNS):
            yield _judge_card(dict(zip(COLUMNS, words, strict=True)))


def _judge_card(card: dict[str, str]) -> Finding:
    name = f"GPU {card['index']}"
    degrees, used, total = (_number(card[key]) for key in ("temperature.gpu", "memory.used", "memory.total"))
    text = f"{card['name']}, driver {card['driver_version']}"
    if degrees is not None:
        text += f", {degrees:.0f} °C"
    if used is not None and total:
        text += f", {used / 1024:,.0f} of {total / 1024:,.0f} GiB used, {card['utilization.gpu']} % busy"
    if degrees is not None and degrees > HOT_C:
        remedy = f"above {HOT_C} °C it slows itself down: look at fans and air, or lower its power (nvidia-smi -pl)"
        return Finding("warn", name, text, remedy)
    if used is not None and total and used > FULL * total:
        remedy = "nvidia-smi names who holds it: end what is not a worker, or set STUDIO_OFFLOAD"
        return Finding("warn", name, f"{text}: nearly all of its memory", remedy)
    return Finding("ok", name, text)


def _number(text: str) -> float | None:
    """`[N/A]` on cards that do not tell."""
    try:
        return float(text)
    except ValueError:
        return None
