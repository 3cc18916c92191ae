"""Workers, queues, the ticker and errands, over the worker's role: it sees every tenant's rows."""

from __future__ import annotations

import os
from collections.abc import Iterator

from generation.domain.place import WORKER_SILENT_S
from generation.worker.ticker import LOCK
from qwenstudio.doctor.asking import ask_database
from qwenstudio.doctor.finding import Finding, Level

FAILED_DAYS = 1  # a worker that could not serve stays on the report for so long
QUEUE_OLD_S = 1800
ERRAND_OLD_S = 600
WORKERS_SQL = """
SELECT name, pool, state, detail, serves FROM generation_worker
 WHERE (state NOT IN ('stopped', 'failed') AND seen_at > now() - %s * interval '1 second')
    OR (state = 'failed' AND seen_at > now() - %s * interval '1 day'
        AND NOT EXISTS (SELECT FROM generation_worker later WHERE later.pool = generation_worker.pool
                          AND later.lane = generation_worker.lane AND later.started_at > generation_worker.started_at))
 ORDER BY name
"""
MODELS_SQL = """
SELECT m.slug, m.pool, m.enabled, coalesce(q.rows, 0), coalesce(q.oldest_s, 0)::float8
  FROM generation_model m
  LEFT JOIN (SELECT model_id, count(*) AS rows, extract(epoch FROM now() - min(created_at)) AS oldest_s
               FROM generation_generation WHERE status = 'queued' GROUP BY model_id) q ON q.model_id = m.slug
 WHERE m.enabled OR q.rows > 0 ORDER BY m.position, m.slug
"""
TICKER_SQL = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (classid::bigint << 32) + objid::bigint = %s)
"""
ERRANDS_SQL = """
SELECT count(*) FILTER (WHERE failed_at IS NOT NULL),
       count(*) FILTER (WHERE failed_at IS NULL AND due_at <= now()),
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE failed_at IS NULL
         AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now()))), 0)::float8
  FROM accounts_errand
"""


def check_workers() -> Iterator[Finding]:
    """Every model on offer has a worker that serves it, none has failed, and what waits is being drawn."""
    found = ask_database((WORKERS_SQL, [WORKER_SILENT_S, FAILED_DAYS]), (MODELS_SQL, []))
    if found is None:
        return
    workers, models = found
    served = {slug for _, _, state, _, serves in workers if state != "failed" for slug in serves}
    for name, pool, state, detail, serves in workers:
        level: Level = "fail" if state == "failed" else "ok"
        yield Finding(level, f"worker {name}", f"{state}, pool {pool}, serves {', '.join(serves) or 'nothing'}", detail)
    for slug, pool, enabled, waiting, oldest_s in models:
        yield _check_service(slug, pool, enabled=enabled, waiting=waiting, oldest_s=oldest_s, served=slug in served)


def _check_service(slug: str, pool: str, *, enabled: bool, waiting: int, oldest_s: float, served: bool) -> Finding:
    """One model that is on offer, or that somebody waits for."""
    name = f"queue of {slug}"
    text = f"{waiting} waiting, the first for {oldest_s:,.0f} s" if waiting else "nothing waits"
    if served and oldest_s > QUEUE_OLD_S:
        remedy = "more GPUs, or smaller plans: admin → Now says who waits and why"
        return Finding("warn", name, text, remedy)
    if served:
        return Finding("ok", name, text)
    if not enabled:
        remedy = "cancel what waits, or switch it on again and start a worker (admin)"
        return Finding("fail", name, f"{text}; the model is switched off and nobody serves it", remedy)
    start = f"manage.py gpuworker --pool {pool}" + ("" if pool != "demo" else ", or start all: make run")
    unit = f"systemctl start studio.target; one of /etc/qwenstudio/gpu must say STUDIO_POOL={pool}"
    return Finding("fail" if waiting else "warn", name, f"{text}; no worker serves it", say_start(start, unit=unit))


def say_start(line: str, *, unit: str = "systemctl start studio.target") -> str:
    """How something is started: by its unit in an installation, else by hand."""
    return unit if os.environ.get("STUDIO_ROOT") else line


def check_errands() -> Iterator[Finding]:
    """Somebody sweeps; errands are run, and none has failed for good."""
    found = ask_database((TICKER_SQL, [LOCK]), (ERRANDS_SQL, []))
    if found is None:
        return
    ((swept,),), ((failed, due, oldest_s),) = found
    if swept:
        yield Finding("ok", "ticker", "sweeps")
    else:
        remedy = f"{say_start('start it: manage.py ticker')}. Without it nobody takes over what a lost worker held"
        yield Finding("warn", "ticker", "nobody sweeps", remedy)
    if failed:
        yield Finding("warn", "errands failed", f"{failed} have failed for good", "admin → Now → errands: try again")
    if oldest_s > ERRAND_OLD_S:
        text = f"{due} are due, the first for {oldest_s:,.0f} s: e-mails are not sent"
        yield Finding("fail", "errands", text, say_start("start it: manage.py errandworker"))
    else:
        yield Finding("ok", "errands", f"{due} are due")
