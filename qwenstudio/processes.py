"""The studio's processes: what runs, in one table. `manage.py up` starts them; so may systemd or a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from generation.chat.demomodel import DEMO_MODEL

ROOT = Path(__file__).resolve().parent.parent
WEB_STOP_S = 10


@dataclass(frozen=True)
class Program:
    """One kind of process. `line` may hold `{port}` and `{chat_port}`."""

    name: str
    role: str
    """Its `STUDIO_PROCESS`, from which the database role follows; empty for a foreign one."""
    line: tuple[str, ...]
    torch: bool = False
    stop_s: float = 30.0
    """How long it may take to finish what it holds after SIGTERM."""
    healthy_after_s: float = 60.0
    """A longer life was a healthy one: the next start comes soon again."""
    foreign: bool = False
    """Runs others' code only: it gets none of our variables, and with them none of our secrets."""
    late: bool = False
    """Started when everything else is ready, for it would only slow that down."""


def manage(command: str, *arguments: str) -> tuple[str, ...]:
    """The command line of one of our commands."""
    return (sys.executable, str(ROOT / "manage.py"), command, *arguments)


CHAT_NEEDS = ("fastapi", "openai", "pydantic", "transformers", "uvicorn")

PROGRAMS = (
    # First: importing torch takes longest. It ends 10 s of the pass it is in, up to 60 s of its tail, and its threads;
    # and it may load a large model for minutes before it falls.
    Program(
        "gpuworker", "worker", manage("gpuworker", "--pool", "demo"), torch=True, stop_s=90.0, healthy_after_s=600.0
    ),
    Program(
        "web",
        "web",
        (
            sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws",
            "--host", "127.0.0.1", "--port", "{port}",
            # A stream holds one of these places for as long as it lives; all clients share them.
            "--http", "1", "--http1-buffer-size", "65536", "--backpressure", "8192",
            "--workers", "1", "--workers-kill-timeout", str(WEB_STOP_S), "--log-level", "warning",
            "--working-dir", str(ROOT), "qwenstudio.asgi:front",
        ),
        stop_s=WEB_STOP_S + 20.0,
    ),
    Program("errands", "errands", manage("errandworker")),
    Program("ticker", "ticker", manage("ticker")),
    Program(
        "chat",
        "",
        (sys.executable, "-m", "qwenstudio.units.chatguard", "{chat_port}", DEMO_MODEL, "--device", "cpu"),
        foreign=True,
        late=True,
        stop_s=20.0,
    ),
)  # fmt: skip


def usable_cores() -> int:
    """Cores this process may use: the affinity mask and the container's quota count, not the machine's size."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


COMMON = ("HOME", "LANG", "LANGUAGE", "PATH", "PYTHONUNBUFFERED", "TMPDIR", "TZ", "VIRTUAL_ENV")
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""OpenMP's threads spin while they wait; beside another torch process one picture then took 14 s instead of 0.35 s."""


def torch_environment(processes: int) -> dict[str, str]:
    """For each of `processes` torch processes on one machine: a share of the cores, and threads that sleep."""
    return SLEEPING_THREADS | {"OMP_NUM_THREADS": str(max(1, usable_cores() // max(1, processes)))}


def missing_for_chat() -> list[str]:
    """What the demo chat model would need and is not installed: packages, or its own files."""
    missing = [name for name in CHAT_NEEDS if find_spec(name) is None]
    return missing if (ROOT / DEMO_MODEL / "model.safetensors").is_file() else [*missing, DEMO_MODEL]


def foreign_environment(base: Mapping[str, str]) -> dict[str, str]:
    """What a program that is not ours gets to know: where programs and folders are. One thread does for it."""
    kept = {name: value for name, value in base.items() if name in COMMON or name.startswith(("LC_", "OMP_", "GOMP_"))}
    return {
        **SLEEPING_THREADS,
        "OMP_NUM_THREADS": "1",
        **kept,
        "HF_HOME": str(Path(base["STUDIO_VAR"]) / "chat"),
    }


def environment_of(program: Program, *, base: dict[str, str], torch_processes: int) -> dict[str, str]:
    """The variables of one process; what the user set for torch stays."""
    if program.foreign:
        return foreign_environment(base)
    torch = torch_environment(torch_processes) if program.torch else {}
    return {**torch, **base, "STUDIO_PROCESS": program.role, "DJANGO_SETTINGS_MODULE": "qwenstudio.settings"}
