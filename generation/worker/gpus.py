"""Memory, utilisation and temperature of this machine's GPUs, by `nvidia-smi`, for `/metrics`.

A GPU worker asks, because it may open the devices (pages need not) and stands beside them wherever it runs. It asks in
a thread of its own: a driver that hangs holds up no pass and no lease. Without the program or a GPU nothing is shown.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from dataclasses import dataclass

from generation.meters import GPU_BUSY, GPU_MEMORY, GPU_MEMORY_USED, GPU_TEMPERATURE

logger = logging.getLogger(__name__)

EVERY_S = 15.0
PATIENCE_S = 10.0
FIELDS = "index,memory.total,memory.used,utilization.gpu,temperature.gpu"
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU; None is what it does not tell ("[N/A]")."""

    index: str
    memory: float | None
    memory_used: float | None
    busy: float | None
    temperature: float | None


def read_gpus(program: str) -> list[GpuReading]:
    """All GPUs of this machine. Raises OSError and SubprocessError."""
    line = [program, f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    rows = [[word.strip() for word in row.split(",")] for row in done.stdout.splitlines()]
    return [_read_row(row) for row in rows if len(row) == 5 and row[0].isdigit()]


def _read_row(row: list[str]) -> GpuReading:
    memory, used, busy, temperature = (_number(word) for word in row[1:])
    return GpuReading(
        index=row[0],
        memory=None if memory is None else memory * MIB,
        memory_used=None if used is None else used * MIB,
        busy=None if busy is None else busy / 100,
        temperature=temperature,
    )


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def show_gpus(readings: list[GpuReading]) -> None:
    """Into the gauges; what is no longer told is no longer shown."""
    for gauge, name in (
        (GPU_MEMORY, "memory"),
        (GPU_MEMORY_USED, "memory_used"),
        (GPU_BUSY, "busy"),
        (GPU_TEMPERATURE, "temperature"),
    ):
        told = {reading.index: getattr(reading, name) for reading in readings}
        gauge.clear()
        for index, value in told.items():
            if value is not None:
                gauge.labels(index).set(value)


class GpuWatch:
    """Asks every quarter of a minute until told to end."""

    def __init__(self) -> None:
        self._program = shutil.which("nvidia-smi")
        self._ended = threading.Event()
        self._failed = False

    def start(self) -> None:
        """Begin, where there is something to ask."""
        if self._program is not None:
            threading.Thread(target=self._watch, name="gpus", daemon=True).start()

    def stop(self) -> None:
        """End; nobody waits for a driver that hangs."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(EVERY_S)

    def look(self) -> None:
        """Ask once."""
        try:
            show_gpus(read_gpus(self._program or "nvidia-smi"))
            self._failed = False
        except (OSError, subprocess.SubprocessError) as error:
            show_gpus([])
            if not self._failed:
                logger.warning("nvidia-smi does not answer, GPUs are not in the metrics: %s", error)
            self._failed = True
