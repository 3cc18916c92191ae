"""B3: the transformer's time in the wall's, over mixed requests that wait in a studio's queue for one worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.results import ROOT
from generation.engine.catalog import ModelSpec
from qwenstudio.embedded import Services

_LOOK_S = 0.2
_PATIENCE_S = 3600.0
KINDS = 12  # of requests: so many in a row are one of each
_LONG = " under a large green sunset with a boat far away on the sea" * 3

# Counted from the first pass to the last row's end: what the worker does before its first claim is nobody's.
_ENDED_SQL = """
SELECT count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status NOT IN ('queued', 'running')),
       extract(epoch FROM max(finished_at))::float8
  FROM generation_generation WHERE model_id = %s
"""


def measure_queue(
    services: Services, folder: Path, spec: ModelSpec, *, requests: int, warm: int, scale: str, threads: int | None,
    cache: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Queue requests of three sizes, two numbers of steps and two lengths; then start a worker and read its watch.

    What the worker compiles for `warm` requests of the same kinds, which it draws first, is not in the figures. Rows
    that share a pass later make other shapes: where `new_shapes` is not 0 the compiler's time is in the transformer's.
    """
    passes = folder / f"{spec.slug}-passes.jsonl"
    submit = offer(spec)
    environment = {**os.environ, "STUDIO_PROCESS": "worker", "BENCH_PASSES": str(passes), "BENCH_SCALE": scale}
    if cache:
        environment["BENCH_CACHE"] = str(cache.resolve())
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    line = [sys.executable, "manage.py", "gpuworker", "--pool", spec.pool, "--engine"]
    submit(warm or requests)
    with (folder / f"{spec.slug}.log").open("wb") as log:
        child = subprocess.Popen(
            [*line, "benchmarks.engine.timed:TimedEngine"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            drawn, ended_at = wait_until_ended(services, spec.slug, warm or requests, child)
            before = len(read_passes(passes)) if warm else 1  # the first is the worker's own
            if warm and drawn == warm:
                submit(requests)
                drawn, ended_at = wait_until_ended(services, spec.slug, warm + requests, child)
        finally:
            child.terminate()
            child.wait(120)
    if drawn < warm + requests:
        raise SystemExit(
            f"{warm + requests - drawn} of {warm + requests} failed:\n"
            + (folder / f"{spec.slug}.log").read_text(errors="replace")[-3000:]
        )
    return sum_up(read_passes(passes)[before:], ended_at=ended_at, requests=requests)


def read_passes(file: Path) -> list[dict[str, Any]]:
    """What the watch wrote so far."""
    if not file.exists():
        return []
    return [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]


def sum_up(passes: list[dict[str, Any]], *, ended_at: float, requests: int) -> dict[str, Any]:
    """The shares of the wall from the first pass's beginning to the last row's end."""
    wall = ended_at - passes[0]["began"]
    transformer = sum(one["transformer_s"] for one in passes)
    inside = sum(one["ended"] - one["began"] for one in passes)
    return {
        "requests": requests,
        "passes": len(passes),
        "forwards": sum(one["forwards"] for one in passes),
        "new_shapes": sum(one["new_shapes"] for one in passes),
        "wall_s": round(wall, 3),
        "transformer_s": round(transformer, 3),
        "transformer_share": round(transformer / wall, 4),
        "passes_share": round(inside / wall, 4),
        "seconds_per_picture": round(wall / requests, 4),
    }


def offer(spec: ModelSpec) -> Callable[[int], None]:
    """Offer the model; the answer queues so many requests of one person whose plan refuses none of them."""
    from generation.domain.request import GenerationRequest  # the settings are read by now
    from generation.domain.submit import submit_generation
    from generation.models import Model, Pool
    from tests.factories import make_person, make_plan, make_tenant

    Model.objects.update_or_create(
        slug=spec.slug, defaults={"title": spec.slug, "pool": spec.pool, "spec": spec.to_table(), "enabled": True}
    )
    Pool.objects.get_or_create(lane="blue", name=spec.pool)
    plan = make_plan(queue_length=10_000, concurrent_generations=1000, requests_per_minute=100_000)
    person = make_person(*make_tenant("Bench", plan=plan))
    side = spec.default_width
    sizes = [(side, side), (side, side // 2), (side // 2, side // 2)]

    def submit(requests: int) -> None:
        for number in range(requests):
            width, height = sizes[number % 3]
            submit_generation(
                caller=person.key_caller,
                request=GenerationRequest(
                    model=spec.slug, prompt=f"a red circle, number {number}{_LONG if number % 4 == 3 else ''}",
                    width=width, height=height, num_inference_steps=8 if number % 2 else 4, seed=number,
                ),
            )  # fmt: skip

    return submit


def wait_until_ended(services: Services, slug: str, requests: int, child: subprocess.Popen[bytes]) -> tuple[int, float]:
    """How many were drawn, and when the last one ended (seconds since 1970)."""
    until = time.monotonic() + _PATIENCE_S
    with psycopg.connect(services.superuser_url, autocommit=True) as admin:
        while time.monotonic() < until:
            drawn, ended, at = admin.execute(_ENDED_SQL, (slug,)).fetchone() or (0, 0, None)
            if ended >= requests or child.poll() is not None:
                return int(drawn), float(at or 0.0)
            time.sleep(_LOOK_S)
    raise SystemExit(f"not drawn within {_PATIENCE_S:.0f} s")
