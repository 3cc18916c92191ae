"""`python -m tests.proofs.benchmarks`: the benchmarks that take long even in small: each still runs to its end.

Their figures mean nothing; what they count must add up. The cheaper ones run with every `make test`
(`tests/test_benchmarks.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.proofs.modules import ROOT
from tests.proofs.record import write_record

SMALL: dict[str, tuple[str, ...]] = {
    "admin": ("--rows", "16000", "--tenants", "20", "--asks", "2"),
    "engine": (
        "--scale", "tiny", "--models", "z-image", "--device", "cpu", "--requests", "6", "--warm", "2", "--rounds", "1",
        "--pictures", "1", "--steps", "2", "--backend", "eager",
    ),
    "gateway": ("--rounds", "1", "--seconds", "0.3", "--each", "5", "--tenants", "2", "--only", "direct", "studio"),
    "golden": ("--few",),
    "goldenstarts": ("--few",),
    "load": ("--minutes", "0.1", "--clients", "4", "--think", "0.2", "--nice", "0"),
    "metrics": ("--rows", "400", "--finished", "400", "--tenants", "20", "--looks", "5"),
    "streams": ("--streams", "5", "--events", "3"),
    "submit": ("--count", "5"),
}  # fmt: skip
PROVES = (
    *(f"benchmarks/{name}" for name in ("engine", "gateway", "load")),
    *(
        f"benchmarks/{name}.py"
        for name in ("admin", "golden", "goldenstarts", "metrics", "results", "streams", "studio", "submit")
    ),
    "deploy/load",
    "qwenstudio/units",
    "tests/deploy/installed.py",
    "tests/proofs/studio.py",
    "tests/qwenstudio/up.py",
)


def run_small(name: str, words: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """One benchmark in a process of its own, and the result that it has kept. Raises AssertionError without one."""
    out = folder / f"{name}.json"
    line = [sys.executable, "-m", f"benchmarks.{name}", *words, "--out", str(out)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # 1: a target was missed, which a busy machine may
    assert out.exists(), done.stderr
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert found["machine"]["cores"] and found["load"], "a figure is worth nothing without its machine"
    return found


def check_gateway(found: dict[str, Any]) -> None:
    """Every answer is in the books, and nothing stays reserved."""
    assert found["summary"]["studio"]["streams_64"]["failures"] == 0
    calls = sum(run["answers"] for run in found["runs"] if run["way"] == "studio")
    assert found["books"]["done"] > calls and not found["books"]["tokens_still_reserved"]


def check_streams(found: dict[str, Any]) -> None:
    """Every event reached every stream."""
    assert found["arrived"] == found["expected"] == 15


def check_load(found: dict[str, Any]) -> None:
    """Both were asked the same, and what the studio accepted it finished once."""
    for run in found["runs"]:
        assert run["failures"] == {} and run["refusals"] == {} and run["requests"], run
        assert run["pictures"]["accepted"], run
    ours, theirs = found["runs"]
    assert (ours["whose"], theirs["whose"]) == ("studio", "peer")
    assert ours["after"]["finished_once"] == ours["after"]["accepted"] == ours["pictures"]["accepted"]


def check_engine(found: dict[str, Any]) -> None:
    """Its pictures are diffusers' own, and each part of the figures is there."""
    for model in found["models"].values():
        (speed,) = model["steps"].values()
        assert speed["psnr_db"]["diffusers"] >= 40 and speed["psnr_db"]["compiled"] >= 40, speed
        assert speed["B1"]["floor"]["seconds"] > 0 and speed["B1"]["share"] > 0
        assert all(ratio["median"] > 0 for ratio in speed["ratio_to_diffusers"].values())
        assert model["B3"]["requests"] == 6 and 0 < model["B3"]["transformer_share"] < 1
        assert set(model["batches"]["64"]["seconds_per_picture"]) == {"1", "2", "4"}


CHECKS = {"engine": check_engine, "gateway": check_gateway, "load": check_load, "streams": check_streams}


def main() -> int:
    """Each after the other; 1 when one of them did not end well."""
    began, counts = time.monotonic(), {}
    for name, words in SMALL.items():
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="qwenstudio-small-") as folder:
            try:
                found = run_small(name, words, Path(folder))
                CHECKS.get(name, lambda found: None)(found)
                fault = ""
            except AssertionError as error:
                fault = str(error)[-2000:] or "a count is wrong"
        counts[name] = {"seconds": round(time.monotonic() - start, 1), "fault": fault}
        print(name, counts[name], flush=True)
    good = not any(one["fault"] for one in counts.values())
    write_record("benchmarks", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
