"""What all benchmarks share: where a result is kept, and what a figure is worth nothing without."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
from pathlib import Path
from typing import Any

from tests.proofs.record import ROOT, commit_of, describe_machine

FOLDER = ROOT / "benchmarks" / "results"


def options_of(name: str, about: str | None) -> argparse.ArgumentParser:
    """A parser with `--out`, which is the result's place under `benchmarks/results/` unless told otherwise."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER / f"{name}.json", help="where the result is written")
    return parser


def keep(result: dict[str, Any], out: Path) -> None:
    """Print a result and write it."""
    text = json.dumps(result, indent=1)
    print(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n", encoding="utf-8")


def surroundings() -> dict[str, Any]:
    """When, of which commit, on what, and beside which load: ask before the measurement begins."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit_of(ROOT),
        "machine": describe_machine(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def summarize(milliseconds: list[float]) -> dict[str, float]:
    """Median, p95, p99 and maximum."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return {
        "median_ms": round(statistics.median(milliseconds), 2),
        "p95_ms": round(cuts[94], 2),
        "p99_ms": round(cuts[98], 2),
        "max_ms": round(max(milliseconds), 2),
    }
