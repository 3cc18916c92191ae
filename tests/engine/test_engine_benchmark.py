"""What `python -m benchmarks.engine` counts, by hand; and its clock on a GPU, which is none here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel, ZImageTransformer2DModel

from benchmarks.engine import __main__ as program
from benchmarks.engine.__main__ import measure_all
from benchmarks.engine.checkpoints import CONFIGS, made_on
from benchmarks.engine.clock import time_calls
from benchmarks.engine.compare import sum_up_speed
from benchmarks.engine.floor import Recorder, count_flop, time_floor
from benchmarks.engine.queued import sum_up
from benchmarks.engine.report import NOT_MEASURED, Report

META = torch.device("meta")


@torch.no_grad()
def test_every_product_is_counted_with_its_shape() -> None:
    linear, bare = torch.nn.Linear(8, 16), torch.nn.Linear(16, 4, bias=False)
    convolve = torch.nn.Conv2d(3, 5, 3, padding=1)
    query, keys = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 7, 8)
    with Recorder() as recorder:
        bare(linear(torch.randn(3, 5, 8)))
        bare(linear(torch.randn(3, 5, 8)))
        convolve(torch.randn(1, 3, 9, 9))
        torch.bmm(torch.randn(2, 3, 4), torch.randn(2, 4, 5))
    numbers = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1)
    assert recorder.work == {
        ("mm", (15, 8), (8, 16)): 2,
        ("mm", (15, 16), (16, 4)): 2,
        ("convolution", (1, 3, 9, 9), (5, 3, 3, 3), numbers): 1,
        ("bmm", (2, 3, 4), (2, 4, 5)): 1,
    }
    assert count_flop(recorder.work) == 2 * (2 * 15 * 8 * 16 + 2 * 15 * 16 * 4) + 2 * 2 * 3 * 4 * 5
    with Recorder() as attending:
        torch.nn.functional.scaled_dot_product_attention(query, keys, keys, enable_gqa=True)
    assert attending.work, "attention is seen, whichever kernel computes it"
    found = time_floor(recorder.work + attending.work, device=torch.device("cpu"), dtype=torch.float32, calls=1)
    assert found["seconds"] > 0 and {"mm", "bmm", "convolution"} <= set(found["by_kind"])


def test_the_full_sizes_are_the_published_ones() -> None:
    """Parameters and work of a forward at 1024 px with 64 text tokens, without memory for either."""
    with made_on(META, torch.bfloat16):
        qwen = QwenImageTransformer2DModel(**CONFIGS["qwen-image/full"]["transformer"])
        z_image = ZImageTransformer2DModel(**CONFIGS["z-image/full"]["transformer"])
        picture = torch.empty(16, 1, 128, 128)
        inputs = {
            "hidden_states": torch.empty(1, 4096, 64),
            "timestep": torch.empty(1),
            "encoder_hidden_states": torch.empty(1, 64, 3584),
        }
        text = torch.empty(64, 2560)
    with torch.no_grad(), META:
        with Recorder() as first:
            qwen(**inputs, img_shapes=[[(1, 64, 64)]])
        with Recorder() as second:
            z_image([picture], torch.empty(1), [text])
    assert sum(weight.numel() for weight in qwen.parameters()) == 20_430_401_088
    assert count_flop(first.work) / 1e12 == pytest.approx(69.3, abs=0.05)
    assert sum(weight.numel() for weight in z_image.parameters()) == 6_154_908_736
    assert count_flop(second.work) / 1e12 == pytest.approx(55.6, abs=0.05)


def test_without_a_gpu_the_full_sizes_are_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: Any) -> Any:
        raise AssertionError("a studio was started for nobody")

    monkeypatch.setattr(program, "measure_queues", nobody)
    options = argparse.Namespace(
        device="cpu", scale="full", models=["qwen-image", "z-image"], requests=64, backend="", steps=[4, 8],
        parts=list(program.PARTS),
    )  # fmt: skip
    report = Report({"models": {}}, out=tmp_path / "engine.json")
    measure_all(options, tmp_path, report)
    assert report.models == {"qwen-image": NOT_MEASURED, "z-image": NOT_MEASURED} and not report.failures


def test_a_part_that_fails_loses_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers do not start, one model cannot be built, one part of another fails: the rest stands in the file."""

    def measure(name: str, bench: Any, options: Any, report: Report, *, steps: int) -> None:
        report.models[name]["steps"][str(steps)] = one = {"seconds_per_picture": 0.5, "peak_bytes": 10**9}
        with report.part(name, f"speed {steps}", "speed", at=one):
            if steps == 8:
                raise SystemExit("the compiler failed")

    @contextmanager
    def no_servers(folder: Path) -> Iterator[None]:
        raise RuntimeError("no PostgreSQL here")
        yield

    def build(name: str, options: Any, *, device: Any) -> str:
        if name == "qwen-image":
            raise torch.OutOfMemoryError("too large")
        return name

    monkeypatch.setattr("tests.proofs.studio.own_database", no_servers)
    monkeypatch.setattr(program, "make_bench", build)
    monkeypatch.setattr(program, "describe_model", lambda bench: {"steps": {}})
    monkeypatch.setattr(program, "measure_steps", measure)
    monkeypatch.setattr(program, "measure_rest", lambda *args: None)
    options = argparse.Namespace(
        device="cpu", scale="tiny", models=["qwen-image", "z-image"], requests=1, backend="", steps=[4, 8],
        parts=list(program.PARTS),
    )  # fmt: skip
    report = Report({"models": {}}, out=tmp_path / "engine.json")
    measure_all(options, tmp_path, report)
    kept = json.loads(report.out.read_text(encoding="utf-8"))["models"]
    assert kept["qwen-image"]["B3"] == {"failed": "RuntimeError: no PostgreSQL here"}
    assert kept["qwen-image"]["build"] == {"failed": "OutOfMemoryError: too large"}
    assert kept["z-image"]["steps"]["4"] == {"seconds_per_picture": 0.5, "peak_bytes": 10**9}
    assert kept["z-image"]["steps"]["8"]["speed"] == {"failed": "SystemExit: the compiler failed"}
    assert set(kept["z-image"]["took_s"]) == {"build", "speed 4", "speed 8"}
    assert report.failures == ["qwen-image: servers", "qwen-image: build", "z-image: speed 8"]
    program.print_table(report.models)


@pytest.mark.parametrize("reason", ["", "no compiler"])
def test_rounds_are_summed_up_with_and_without_a_compiler(reason: str) -> None:
    model: Any = SimpleNamespace(blocks=SimpleNamespace(reason=reason))
    seconds = {"ours eager": [1.0, 1.2], "diffusers eager": [2.0, 1.8]}
    if not reason:
        seconds |= {"ours compiled": [0.5, 0.5], "diffusers compiled": [1.0, 0.75]}
    found = sum_up_speed(model, seconds, peak=7)
    assert found["seconds_per_picture"] == (1.1 if reason else 0.5) and found["peak_bytes"] == 7
    eager, compiled = found["ratio_to_diffusers"].values()
    if reason:
        assert eager == {"median": 1.75, "least": 1.5, "most": 2.0}
        assert compiled == NOT_MEASURED and found["compiler"] == "no compiler"
    else:
        assert eager == {"median": 3.8, "least": 3.6, "most": 4.0}
        assert compiled == {"median": 1.75, "least": 1.5, "most": 2.0} and "compiler" not in found


def test_the_clock_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing older is in the measure, and it is read when the last call has ended on the device."""
    log: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            log.append("record")

        def synchronize(self) -> None:
            log.append("event waits")

        def elapsed_time(self, end: Any) -> float:
            log.append("read")
            return 600.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("device waits"))
    assert time_calls(lambda: log.append("call"), device=torch.device("cuda"), calls=3) == pytest.approx(0.2)
    assert log == ["device waits", "record", "call", "call", "call", "record", "event waits", "read"]


def test_the_shares_of_the_wall() -> None:
    passes = [
        {"began": 100.0, "ended": 104.0, "rows": 1, "transformer_s": 3.5, "forwards": 4, "new_shapes": 1},
        {"began": 104.5, "ended": 109.0, "rows": 2, "transformer_s": 4.0, "forwards": 8, "new_shapes": 2},
    ]
    found = sum_up(passes, ended_at=110.0, requests=2)
    assert found["wall_s"] == 10.0 and found["transformer_share"] == 0.75 and found["passes_share"] == 0.85
    assert found["seconds_per_picture"] == 5.0 and found["forwards"] == 12
    assert found["new_shapes"] == 3, "a share with the compiler's time in it says so"
