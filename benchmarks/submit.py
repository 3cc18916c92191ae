"""How long a submit takes: POST /api/v1/images against a running studio, one after the other on one connection.

    python benchmarks/submit.py [--count 200] [--env var/demo.env] [--out benchmarks/results/submit.json]

Waits for nothing to be drawn: each generation is cancelled at once and removed at the end. Target: a median below
40 ms on an idle machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx

TARGET_MS = 40.0
ROOT = Path(__file__).resolve().parents[1]


def read_env(path: Path) -> dict[str, str]:
    """`NAME=value` lines, as `make run` writes them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)


def measure_submits(client: httpx.Client, *, count: int, model: str, warm: int = 10) -> list[float]:
    """Milliseconds of each of `count` submits, after `warm` that are not counted."""
    found, made = [], []
    for number in range(count + warm):
        body = {"model": model, "prompt": f"a red circle, number {number}"}
        started = time.perf_counter()
        answer = client.post("/api/v1/images", json=body)
        took = (time.perf_counter() - started) * 1000
        if answer.status_code != 202:
            raise SystemExit(f"submit answered {answer.status_code}: {answer.text}")
        made.append(answer.json()["id"])
        client.post(f"/api/v1/images/{made[-1]}/cancel")
        if number >= warm:
            found.append(took)
    for generation in made:
        client.delete(f"/api/v1/images/{generation}")
    return found


def summarize(milliseconds: list[float]) -> dict[str, float]:
    """Median, p95, p99 and maximum."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return {
        "median_ms": round(statistics.median(milliseconds), 2),
        "p95_ms": round(cuts[94], 2),
        "p99_ms": round(cuts[98], 2),
        "max_ms": round(max(milliseconds), 2),
    }


def surroundings() -> dict[str, Any]:
    """What a figure is worth nothing without."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def main() -> int:
    """Measure, print, keep; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--env", type=Path, default=ROOT / "var" / "demo.env")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "submit.json")
    options = parser.parse_args()
    values = {**read_env(options.env), **os.environ} if options.env.exists() else dict(os.environ)
    headers = {"Authorization": f"Bearer {values['STUDIO_API_KEY']}"}
    before = surroundings()
    with httpx.Client(base_url=values["STUDIO_URL"], headers=headers, timeout=30) as client:
        milliseconds = measure_submits(client, count=options.count, model=options.model)
    summary = summarize(milliseconds)
    print(f"submit: {summary} over {len(milliseconds)}, load before {before['load'][0]}, target median {TARGET_MS} ms")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"target_median_ms": TARGET_MS, **summary, **before, "raw_ms": [round(ms, 3) for ms in milliseconds]}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if summary["median_ms"] < TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
