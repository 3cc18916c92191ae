"""Each benchmark runs from nothing and keeps what it found; small, so that no figure means anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proofs.modules import ROOT, program_names

SMALL: dict[str, tuple[str, ...]] = {
    "admin": ("--rows", "16000", "--tenants", "20", "--asks", "2"),
    "load": ("--minutes", "0.1", "--clients", "4", "--think", "0.2", "--nice", "0"),
    "claim": ("--rows", "400", "--finished", "400", "--tenants", "20", "--claims", "5"),
    "engine": (
        "--scale", "tiny", "--models", "z-image", "--device", "cpu", "--requests", "6", "--warm", "2", "--rounds", "1",
        "--pictures", "1", "--steps", "2", "--backend", "eager",
    ),
    "gateway": ("--rounds", "1", "--seconds", "0.3", "--each", "5", "--tenants", "2", "--only", "direct", "studio"),
    "golden": ("--few",),
    "history": ("--rows", "600", "--others", "100", "--rounds", "3", "--pictures", "5", "--picture-kb", "20"),
    "metrics": ("--rows", "400", "--finished", "400", "--tenants", "20", "--looks", "5"),
    "streams": ("--streams", "5", "--events", "3"),
    "submit": ("--count", "5"),
    "usage": ("--entries", "400", "--rounds", "3"),
}  # fmt: skip


def test_all_are_listed() -> None:
    assert sorted(SMALL) == program_names(ROOT / "benchmarks")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs_nginx if name == "load" else ()) for name in SMALL]
)
def test_it_keeps_a_result(name: str, tmp_path: Path) -> None:
    out = tmp_path / f"{name}.json"
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *SMALL[name], "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a target was missed, which a busy machine may
    assert out.exists(), done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["machine"]["cores"] and found["load"], "a figure is worth nothing without its machine"
    if name == "gateway":
        assert found["summary"]["studio"]["streams_64"]["failures"] == 0
        calls = sum(run["answers"] for run in found["runs"] if run["way"] == "studio")
        assert found["books"]["done"] > calls and not found["books"]["tokens_still_reserved"]
    if name == "streams":
        assert found["arrived"] == found["expected"] == 15
    if name == "load":
        for run in found["runs"]:
            assert run["failures"] == {} and run["refusals"] == {} and run["requests"], run
            assert run["pictures"]["accepted"], run
        ours, theirs = found["runs"]
        assert (ours["whose"], theirs["whose"]) == ("studio", "peer")
        assert ours["after"]["finished_once"] == ours["after"]["accepted"] == ours["pictures"]["accepted"]
    if name == "engine":
        for model in found["models"].values():
            (speed,) = model["steps"].values()
            assert speed["psnr_db"]["diffusers"] >= 40 and speed["psnr_db"]["compiled"] >= 40, speed
            assert speed["B1"]["floor"]["seconds"] > 0 and speed["B1"]["share"] > 0
            assert all(ratio["median"] > 0 for ratio in speed["ratio_to_diffusers"].values())
            assert model["B3"]["requests"] == 6 and 0 < model["B3"]["transformer_share"] < 1
            assert set(model["batches"]["64"]["seconds_per_picture"]) == {"1", "2", "4"}
