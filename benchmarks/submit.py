"""How long a submit takes: POST /api/v1/images against a studio of its own, one after the other on one connection.

    python -m benchmarks.submit [--count 200]

Waits for nothing to be drawn: each generation is cancelled at once and removed at the end. Target: a median below
40 ms on an idle machine.
"""

from __future__ import annotations

import sys
import time

import httpx

from benchmarks.results import keep, options_of, summarize, surroundings
from benchmarks.studio import client_of, own_studio

TARGET_MS = 40.0


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


def main() -> int:
    """Measure, print, keep; 1 when the target is missed."""
    parser = options_of("submit", __doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    before = surroundings()
    with own_studio() as up, httpx.Client(**client_of(up)) as client:
        milliseconds = measure_submits(client, count=options.count, model=options.model)
    summary = summarize(milliseconds)
    raw = {"raw_ms": [round(ms, 3) for ms in milliseconds]}
    keep({**before, "target_median_ms": TARGET_MS, **summary, **raw}, options.out)
    return 0 if summary["median_ms"] < TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
