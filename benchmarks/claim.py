"""How long a claim of eight takes, with many rows waiting: `python -m benchmarks.claim [--rows 100000] [--claims 200]`.

Starts a PostgreSQL of its own in a temporary folder, fills it and claims under the worker's role. Beside each claim a
plain queue of as many rows is asked for eight by `FOR UPDATE SKIP LOCKED`, oldest first, over the same connection: no
tenants, no clocks, no passes, one index. The ratio of the two is what fairness costs. Prints JSON with raw counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import ROOT, keep, options_of, surroundings

BATCH = 8
KINDS = 12  # batch keys among the waiting rows

FILL_SQL = """
INSERT INTO accounts_plan (slug, title, weight, concurrent_generations, queue_length, max_pixels, max_steps, max_images,
                           requests_per_minute, tenant_requests_per_minute, chat_requests_per_minute)
VALUES ('bench', 'bench', 1, 1000000, 1000000, 4194304, 50, 10, 600, 6000, 30);
INSERT INTO accounts_tenant (id, name, plan_id, limits, networks, logo, stored_bytes, note, created_at)
SELECT gen_random_uuid(), 'tenant ' || i, (SELECT id FROM accounts_plan WHERE slug = 'bench'), '{{}}', '{{}}', '', 0,
       '', now()
  FROM generate_series(1, {tenants}) i;
INSERT INTO generation_model (slug, title, pool, spec, enabled, public, position, created_at, updated_at)
VALUES ('bench', 'bench', 'bench', '{{}}', true, true, 0, now(), now());
CREATE TEMP TABLE numbered AS SELECT id, row_number() OVER () - 1 AS i FROM accounts_tenant;
INSERT INTO generation_generation
       (id, tenant_id, lane, pool, model_id, task, prompt, folded, negative_prompt, width, height, steps, seed, n,
        params, schema_version, batch_key, request_id, starred, status, priority, done, attempt, lost, fence, step,
        error_code, error_message, warnings, estimate_ms, claimed_ms, cost_ms, charged_on, created_at, queued_at)
SELECT gen_random_uuid(), t.id, 'blue', 'bench', 'bench', 'text-to-image', 'a ring', 'a ring', '', 256, 256, 4, n, 1,
       '{{}}', 1, 'key-' || (n / {tenants} * 7919 + t.i) % {kinds}, '', false,
       CASE WHEN n < {rows} THEN 'queued' ELSE 'succeeded' END, 0, 0, 0, 0, 0, 0, '', '', '[]', 600, 0, 0,
       current_date, now() - make_interval(secs => {total} - n), now() - make_interval(secs => {total} - n)
  FROM generate_series(0, {total} - 1) n JOIN numbered t ON t.i = n % {tenants};
INSERT INTO generation_fairclock (lane, pool, tenant, weight, vtime, queued, queued_ms, running, running_ms)
SELECT 'blue', 'bench', tenant_id, 1, 1000 * random(), count(*), sum(estimate_ms), 0, 0
  FROM generation_generation WHERE status = 'queued' GROUP BY tenant_id;
CREATE TABLE plain (id uuid PRIMARY KEY, status text NOT NULL, queued_at timestamptz NOT NULL, prompt text NOT NULL,
                    params jsonb NOT NULL, worker uuid, lease_until timestamptz, fence bigint NOT NULL DEFAULT 0);
INSERT INTO plain (id, status, queued_at, prompt, params)
SELECT id, status, queued_at, prompt, params FROM generation_generation;
CREATE INDEX plain_waiting ON plain (queued_at, id) WHERE status = 'queued';
GRANT ALL ON plain TO studio_worker;
ANALYZE;
"""

PLAIN_SQL = """
WITH next AS MATERIALIZED (
  SELECT id, set_config('synchronous_commit', 'off', true) FROM plain
   WHERE status = 'queued' ORDER BY queued_at, id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
UPDATE plain p
   SET status = 'running', worker = %(worker)s, fence = p.fence + 1, lease_until = clock_timestamp() + interval '1 hour'
  FROM next WHERE p.id = next.id
RETURNING p.*
"""


def main() -> None:
    """Fill, claim, print."""
    arguments = options_of("claim", __doc__)
    arguments.add_argument("--rows", type=int, default=100_000, help="waiting rows")
    arguments.add_argument("--finished", type=int, default=100_000, help="rows that have ended, beside them")
    arguments.add_argument("--tenants", type=int, default=990)
    arguments.add_argument("--claims", type=int, default=200)
    given = arguments.parse_args()
    before = surroundings()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-") as folder:
        result = measure(Path(folder), given)
    keep({**before, **result}, given.out)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """Claims of eight on a full queue, each timed from call to commit."""
    import psycopg

    from qwenstudio.embedded import start

    services = start(folder, log=lambda text: None, durable=True, tie=True)
    try:
        os.environ.update(services.environment())
        os.environ.update(STUDIO_VAR=str(folder), DJANGO_SETTINGS_MODULE="qwenstudio.settings")
        owner = {**os.environ, "STUDIO_PROCESS": "owner"}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=owner, check=True)
        with psycopg.connect(services.superuser_url, autocommit=True) as admin:
            admin.execute(
                FILL_SQL.format(
                    tenants=given.tenants, rows=given.rows, total=given.rows + given.finished, kinds=KINDS
                ).encode()
            )
            times, plain, claimed = time_claims(given.claims)
            left = admin.execute("SELECT count(*) FROM generation_generation WHERE status = 'queued'").fetchone()
    finally:
        services.stop()
    ratios = [claim / fetch for claim, fetch in zip(times, plain, strict=True)]
    return {
        "what": f"claim of {BATCH}, {given.rows} waiting of {given.rows + given.finished}, {given.tenants} tenants",
        "claims": len(times),
        "rows_claimed": claimed,
        "rows_left": left[0] if left else None,
        "ms": spread(times),
        "plain_ms": spread(plain),
        "ratio_to_plain": spread(ratios),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and both ends."""
    values = sorted(values)
    return {
        "p50": round(statistics.median(values), 2),
        "p95": round(values[int(len(values) * 0.95)], 2),
        "least": round(values[0], 2),
        "most": round(values[-1], 2),
    }


def time_claims(claims: int) -> tuple[list[float], list[float], int]:
    """Milliseconds of each claim and of the plain fetch beside it, and how many rows the claims took in all."""
    os.environ["STUDIO_PROCESS"] = "worker"
    import django

    django.setup()
    from django.db import transaction

    from accounts.domain.sql import fetch_all
    from accounts.ids import uuid7
    from generation.domain.claim import claim_pass

    worker, times, plain, taken = uuid7(), [], [], 0
    for number in range(claims + 5):
        started = time.perf_counter()
        claim = claim_pass(
            lane="blue", pool="bench", models={"bench": BATCH}, worker=worker, hardware="bench", lease_s=3600
        )
        between = time.perf_counter()
        with transaction.atomic():
            rows = fetch_all(PLAIN_SQL, batch=BATCH, worker=worker)
        ended = time.perf_counter()
        if claim is None or len(rows) < BATCH:
            raise SystemExit("the queue ran empty: give more --rows")
        if number >= 5:  # the first ones warm connection and caches
            times.append((between - started) * 1000)
            plain.append((ended - between) * 1000)
            taken += len(claim.rows)
    return times, plain, taken


if __name__ == "__main__":
    main()
