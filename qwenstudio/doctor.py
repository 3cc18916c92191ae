"""Looks at everything a studio needs and says what is missing and what to do about it: `manage.py doctor`.

Each check asks the real thing (a new connection as each role, a file written, a checkpoint's files read) and yields
findings; one that finds nothing wrong says what it saw. Nothing is changed.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Literal

import psycopg
import redis
from django.conf import settings

from generation.domain.place import WORKER_SILENT_S
from generation.engine.catalog import ModelSpec, read_catalog
from generation.engine.checkpoint import verify_checkpoint
from generation.engine.errors import CatalogError, CheckpointError
from qwenstudio import health
from qwenstudio.checks import REMEDY, find_fault
from qwenstudio.databases import VARIABLES
from qwenstudio.settings import SECRET_KEY, database_urls, missing_urls

Level = Literal["ok", "warn", "fail"]
TIMEOUT_S = 5
SKEW_S = 2.0
"""Receipts, links and passes carry times: a clock that is further off than this makes some of them wrong."""
FREE_LOW = 10 * 1024**3
"""Bytes: some thousand pictures of 2,048 x 2,048 with their thumbnails."""
OLDEST_POSTGRES = 140_000
OLDEST_REDIS = (6, 2)
FAILED_DAYS = 1  # a worker that could not serve stays on the report for so long
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
DEVICE_PROGRAM = """
import dataclasses, json
from generation.engine.device import describe_device, pick_device, pick_dtype
print(json.dumps(dataclasses.asdict(describe_device()) | {"dtype": pick_dtype(pick_device())[1]}))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `text` is what was seen, `remedy` what to do where that is not well."""

    level: Level
    name: str
    text: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Run every check, each once; a check that breaks is a finding of its own."""
    for name, check in CHECKS.items():
        try:
            yield from check()
        except Exception as error:
            yield Finding("fail", name, f"{type(error).__name__}: {error}", "this is a bug in the check: report it")


def check_settings() -> Iterator[Finding]:
    """Where things are; what must not be so in production."""
    yield Finding(
        "ok", "settings", f"{settings.STUDIO_URL}, lane {settings.STUDIO_LANE}, release {settings.RELEASE or 'unknown'}"
    )
    if settings.DEBUG:
        yield Finding("warn", "settings", "DEBUG is on: error pages show code and values", "unset DEBUG")
    if not SECRET_KEY:  # Django's own settings raise where it is empty
        yield Finding("fail", "settings", "SECRET_KEY is not set", "set it to 50 random characters, or start make run")
    var = settings.STUDIO_VAR
    if var.exists() and var.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("warn", "settings", f"{var} is open to other accounts", f"chmod 700 {var}")


def check_database() -> Iterator[Finding]:
    """Each role connects, is bound by row-level security, and the migrations are applied."""
    if not database_urls["web"]:
        yield Finding("fail", "database", "DATABASE_URL is not set and no studio runs here", "start one: make run")
        return
    for role, url in database_urls.items():
        yield from _check_role(role, url)
    if reason := health.check_database():
        yield Finding("fail", "migrations", reason, "manage.py migrate")
    else:
        yield Finding("ok", "migrations", f"all {len(health.known_migrations())} applied")


def _check_role(role: str, url: str) -> Iterator[Finding]:
    name = f"database, {role}"
    try:
        with psycopg.connect(url, connect_timeout=TIMEOUT_S) as database:
            row = database.execute(
                "SELECT current_user, current_setting('server_version_num')::int,"
                " extract(epoch FROM clock_timestamp() - %s::timestamptz)",
                [datetime.now(UTC)],
            ).fetchone()
            fault = find_fault(database, web=role == "web")
    except psycopg.Error as error:
        remedy = f"start PostgreSQL, or correct {VARIABLES[role]} (deploy/postgres/roles.sql)"
        yield Finding("fail", name, missing_urls.get(role) or str(error).strip().splitlines()[0], remedy)
        return
    assert row is not None  # noqa: S101  (it reads no table)
    user, version, ahead = row
    if fault:
        yield Finding("fail", name, fault, REMEDY)
    elif version < OLDEST_POSTGRES:
        yield Finding("fail", name, f"PostgreSQL {version // 10_000} is too old", "PostgreSQL 14 or newer")
    else:
        yield Finding("ok", name, f"{user} on PostgreSQL {version // 10_000}")
    if role == "web" and abs(ahead) > SKEW_S:
        yield Finding("warn", "clock", f"the database's clock is {float(ahead):+.1f} s off ours", "run NTP on both")


def check_redis() -> Iterator[Finding]:
    """It answers, is new enough, and evicts no jobs."""
    if not settings.REDIS_URL:
        yield Finding("warn", "redis", "REDIS_URL is not set: wake-ups wait for the sweep (5 s)", "start one: make run")
        return
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    try:
        info: dict[str, Any] = client.info()
    except redis.RedisError as error:
        yield Finding("warn", "redis", f"{error}", "start it: until then wake-ups wait for the sweep (5 s)")
        return
    finally:
        client.close()
    version = str(info.get("valkey_version") or info["redis_version"])
    program = "Valkey" if "valkey_version" in info else "Redis"
    if program == "Redis" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        yield Finding("warn", "redis", f"Redis {version} is too old", "Redis 6.2 or Valkey 8, or newer")
    elif info.get("maxmemory_policy", "noeviction") != "noeviction":
        policy = info["maxmemory_policy"]
        yield Finding("warn", "redis", f"maxmemory-policy is {policy}: jobs may vanish", "set it to noeviction")
    else:
        yield Finding("ok", "redis", f"{program} {version}")


def check_storage() -> Iterator[Finding]:
    """Images can be written, and there is room for more."""
    if reason := health.check_storage():
        yield Finding("fail", "storage", f"{settings.STUDIO_MEDIA}: {reason}", "give the studio's account this folder")
        return
    free = shutil.disk_usage(settings.STUDIO_MEDIA).free
    text = f"{settings.STUDIO_MEDIA}, {free / 1024**3:,.0f} GiB free"
    if free < FREE_LOW:
        yield Finding("warn", "storage", text, "make room: requests fail when the disk is full")
    else:
        yield Finding("ok", "storage", text)


def check_models() -> Iterator[Finding]:
    """The models file is right, and every local checkpoint that is switched on is whole."""
    try:
        specs = read_catalog(settings.STUDIO_MODELS)
    except CatalogError as error:
        yield Finding("fail", "models", str(error), "correct the file, then: manage.py loadmodels")
        return
    for spec in specs:
        if spec.enabled:
            yield _check_model(spec)
    if not any(spec.enabled for spec in specs):
        yield Finding("warn", "models", f"{settings.STUDIO_MODELS} switches no model on", "set enabled = true in one")


def _check_model(spec: ModelSpec) -> Finding:
    name = f"model {spec.slug}"
    if spec.folder is None:
        if settings.HF_HUB_OFFLINE:
            remedy = "its worker stops unless it was downloaded before; to allow that: HF_HUB_OFFLINE=0"
            return Finding("warn", name, f"{spec.path} comes from the hub, and downloads are off", remedy)
        return Finding("ok", name, f"{spec.path} from the hub")
    try:
        verify_checkpoint(spec.folder)
    except CheckpointError as error:
        return Finding("fail", name, str(error), "workers of this model stop with the same words")
    return Finding("ok", name, f"{spec.folder}: complete")


def check_device() -> Iterator[Finding]:
    """What a worker on this machine would compute on. In a process of its own: this one never loads torch."""
    if find_spec("torch") is None:
        yield Finding("ok", "device", "no torch here: this machine serves pages, workers run elsewhere")
        return
    done = subprocess.run(
        [sys.executable, "-c", DEVICE_PROGRAM], cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding("fail", "device", f"torch does not start: {reason}", "pip install -r requirements.txt")
        return
    device = json.loads(done.stdout.splitlines()[-1])
    gib = device["memory_total"] / 1024**3
    yield Finding("ok", "device", f"{device['name']}, {gib:,.0f} GiB; {device['dtype']}")
    if device["kind"] == "cpu":
        yield Finding("ok", "device", "no GPU: the demo model runs, a large model would take minutes a picture")


def check_workers() -> Iterator[Finding]:
    """Every model on offer has a worker that serves it, none has failed, and what waits is being drawn."""
    if not database_urls["worker"]:
        return
    try:
        with psycopg.connect(database_urls["worker"], connect_timeout=TIMEOUT_S) as database:
            workers = database.execute(WORKERS_SQL, [WORKER_SILENT_S, FAILED_DAYS]).fetchall()
            models = database.execute(MODELS_SQL).fetchall()
    except psycopg.Error:
        return  # the database's own check has said so
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
    if served:
        return Finding("ok", name, text)
    if not enabled:
        remedy = "cancel what waits, or switch it on again and start a worker (admin)"
        return Finding("fail", name, f"{text}; the model is switched off and nobody serves it", remedy)
    start = f"manage.py gpuworker --pool {pool}" + ("" if pool != "demo" else ", or start all: make run")
    return Finding("fail" if waiting else "warn", name, f"{text}; no worker serves it", start)


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "settings": check_settings,
    "database": check_database,
    "redis": check_redis,
    "storage": check_storage,
    "models": check_models,
    "device": check_device,
    "workers": check_workers,
}
