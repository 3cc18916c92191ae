"""What an open event stream costs: memory of the server, and the way from the bus to the clients.

    python -m benchmarks.streams [--streams 500]

Starts a studio of its own. Opens the streams of all the caller's work, submits one generation, publishes progress for
it as a worker would, and notes when each client has it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any
from uuid import UUID

import httpx
import orjson
from redis import asyncio as redis

from benchmarks.results import keep, options_of, summarize, surroundings
from benchmarks.studio import client_of, own_studio, web_of
from tests.qwenstudio.up import Up

STREAM = "qs:bus"


async def follow(client: httpx.AsyncClient, ready: asyncio.Semaphore, arrivals: dict[int, list[float]]) -> None:
    """One client: note the arrival of every numbered progress event."""
    async with client.stream("GET", "/api/v1/events", timeout=None) as answer:
        answer.raise_for_status()
        ready.release()
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and '"steps":1000000' in line:
                arrivals.setdefault(orjson.loads(line[6:])["step"], []).append(time.perf_counter())


async def measure(options: argparse.Namespace, up: Up) -> dict[str, Any]:
    """Open, publish, collect."""
    server = web_of(up)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(**client_of(up), limits=limits) as client:
        tenant = (await client.get("/api/v1/me")).json()["tenant"]["id"]
        made = (await client.post("/api/v1/images", json={"model": options.model, "prompt": "a red circle"})).json()
        before = server.memory_info().rss
        ready, arrivals = asyncio.Semaphore(0), dict[int, list[float]]()
        tasks = [asyncio.create_task(follow(client, ready, arrivals)) for _ in range(options.streams)]
        for _ in tasks:
            await ready.acquire()
        await asyncio.sleep(2)
        memory = server.memory_info().rss - before
        sent = await publish(
            up.services().redis_url, tenant=UUID(tenant), generation=UUID(made["id"]), count=options.events
        )
        await asyncio.sleep(3)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.post(made["urls"]["cancel"])
        await client.delete(made["urls"]["get"])
    delays = [(at - sent[step]) * 1000 for step, found in arrivals.items() for at in found]
    return {
        "streams": options.streams,
        "expected": options.streams * options.events,
        "arrived": len(delays),
        "kilobytes_per_stream": round(memory / options.streams / 1000, 1),
        **summarize(delays),
        "mean_ms": round(statistics.fmean(delays), 2),
    }


async def publish(url: str, *, tenant: UUID, generation: UUID, count: int) -> dict[int, float]:
    """Write `count` progress events, five a second; when each was sent."""
    sent = {}
    async with redis.Redis.from_url(url) as bus:
        for step in range(count):
            sent[step] = time.perf_counter()
            data = orjson.dumps({"step": step, "steps": 1_000_000})
            await bus.xadd(STREAM, {"t": str(tenant), "g": str(generation), "k": "progress", "d": data}, maxlen=4096)
            await asyncio.sleep(0.2)
    return sent


def main() -> None:
    """Measure, print, keep."""
    parser = options_of("streams", __doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    before = surroundings()
    with own_studio(only=("web", "ticker"), STUDIO_STREAMS=str(options.streams)) as up:  # no worker: nothing may end it
        result = asyncio.run(measure(options, up))
    keep({**before, **result}, options.out)


if __name__ == "__main__":
    main()
