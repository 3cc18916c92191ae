"""GPUs in the metrics: what `nvidia-smi` tells, and nothing where there is none."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from generation.meters import GPU_BUSY, GPU_MEMORY, GPU_MEMORY_USED, GPU_TEMPERATURE
from generation.worker import gpus
from generation.worker.gpus import FIELDS, GpuWatch

TWO = "0, 81559, 1024, 37, 61\n1, 81559, 512, [N/A], 55\n"
Smi = Callable[[str], None]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """A `nvidia-smi` on the path that runs this script."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def write(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return write


def shown() -> dict[str, dict[str, float]]:
    """The gauges, by name and GPU."""
    families = [next(iter(gauge.collect())) for gauge in (GPU_MEMORY, GPU_MEMORY_USED, GPU_BUSY, GPU_TEMPERATURE)]
    return {family.name: {one.labels["gpu"]: one.value for one in family.samples} for family in families}


def test_two_gpus_in_base_units(smi: Smi) -> None:
    smi(f'[ "$1" = "--query-gpu={FIELDS}" ] || exit 3\nprintf "{TWO}"')
    GpuWatch().look()
    assert shown() == {
        "studio_gpu_memory_bytes": {"0": 81559 * 1024**2, "1": 81559 * 1024**2},
        "studio_gpu_memory_used_bytes": {"0": 1024**3, "1": 512 * 1024**2},
        "studio_gpu_utilization_ratio": {"0": 0.37},  # what a GPU does not tell is absent, not 0
        "studio_gpu_temperature_celsius": {"0": 61, "1": 55},
    }


def test_a_gpu_that_is_gone_is_shown_no_more(smi: Smi, caplog: pytest.LogCaptureFixture) -> None:
    smi(f'printf "{TWO}"')
    watch = GpuWatch()
    watch.look()
    smi('echo "No devices were found" >&2; exit 6')
    watch.look()
    watch.look()
    assert all(not values for values in shown().values())
    assert caplog.text.count("nvidia-smi does not answer") == 1, "said once, not four times a minute"


def test_a_driver_that_hangs(smi: Smi, monkeypatch: pytest.MonkeyPatch) -> None:
    smi("exec sleep 600")
    monkeypatch.setattr(gpus, "PATIENCE_S", 0.2)
    GpuWatch().look()  # comes back
    assert all(not values for values in shown().values())


def test_no_program_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    before = threading.active_count()
    watch = GpuWatch()
    watch.start()
    assert threading.active_count() == before
    watch.stop()


def test_strange_words_are_passed_over(smi: Smi) -> None:
    smi('printf "Failed to initialize NVML: Driver/library version mismatch\\n"')
    GpuWatch().look()
    assert all(not values for values in shown().values())
