"""`python -m tests.proofs.latency`: from the end of a pass to the event in the client's hands.

A worker (with an engine that sleeps instead of drawing) finishes generations; a client with an event stream notes when
`succeeded` arrives. The time is taken from `finished_at`, which is when the finishing transaction began.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.proofs.record import write_record

COUNT = 60
BOUND_MS = 150.0
PROVES = ("qwenstudio/door", "generation/queue/progress.py", "generation/domain/finish.py", "generation/api/sse.py")


async def measure(*, url: str, secret: str, count: int = COUNT) -> dict[str, Any]:
    """Draw one after the other, each watched by its own stream."""
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as http:
        await draw_once(http, 0)  # the first one warms everything up
        found = [await draw_once(http, number) for number in range(1, count + 1)]
    delays = [delay for delay, _ in found]
    return {
        "generations": count,
        "median_ms": round(statistics.median(delays), 1),
        "p95_ms": round(statistics.quantiles(delays, n=20)[18], 1),
        "max_ms": round(max(delays), 1),
        "bound_ms": BOUND_MS,
        "over_bound": sum(delay >= BOUND_MS for delay in delays),
        "progress_events": sum(events for _, events in found),
    }


async def draw_once(http: httpx.AsyncClient, number: int) -> tuple[float, int]:
    """Submit, watch: milliseconds from `finished_at` to the event, and how many progress events came before it."""
    made = (await http.post("/api/v1/images", json={"model": "demo", "prompt": f"latency {number}"})).json()
    progress = 0
    name = ""
    async with http.stream("GET", f"/api/v1/images/{made['id']}/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
                progress += name == "progress"
            elif line.startswith("data: ") and name in ("succeeded", "failed", "canceled"):
                arrived = datetime.now(UTC)
                body = orjson.loads(line.removeprefix("data: "))
                if name != "succeeded":
                    raise SystemExit(f"the generation ended as {name}: {body['error']}")
                finished = datetime.fromisoformat(body["finished_at"])
                return (arrived - finished).total_seconds() * 1000, progress
    raise SystemExit("the stream ended without a final event")


def is_good(counts: dict[str, Any]) -> bool:
    """Every single one within the bound."""
    return bool(counts["over_bound"] == 0)


def main() -> int:
    """On servers of its own; 1 when the bound was missed."""
    from tests.chaos.rig import Rig
    from tests.proofs.studio import own_studio

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-latency-"))
    with own_studio(folder) as studio:
        rig = Rig(studio.services, folder / "rig")
        try:
            rig.start_worker()
            rig.wait_for_worker()
            counts = asyncio.run(measure(url=studio.url, secret=studio.worker_secret))
        finally:
            rig.close()
    good = is_good(counts)
    write_record("latency", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
