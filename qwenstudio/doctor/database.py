"""PostgreSQL: roles, migrations, its clock, its connections, and no pooler in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.conf import settings

from generation.domain.place import WORKER_SILENT_S
from qwenstudio import health
from qwenstudio.checks import REMEDY, find_fault
from qwenstudio.databases import VARIABLES
from qwenstudio.doctor.finding import TIMEOUT_S, Finding
from qwenstudio.settings import database_urls, missing_urls

SKEW_S = 2.0
"""Receipts, links and passes carry times: a clock that is further off than this makes some of them wrong."""
OLDEST_POSTGRES = 140_000
NEARLY_FULL = 0.9

# Connections that our processes may hold at once, besides the pools of web and stream (STUDIO_DB_POOL).
DOOR = 2  # qwenstudio/door/database.py, in the web's process or in the stream's
ERRANDS = 2  # one for each of its threads
GPU_WORKER = 4  # pass, leases, tail, and one while a fenced transaction is repeated
TICKER = 2  # and the janitor's thread
LANES = 2

LIMITS_SQL = """
SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT coalesce(max(workers), 0) FROM (SELECT count(*) AS workers FROM generation_worker
         WHERE state NOT IN ('stopped', 'failed') AND seen_at > now() - %s * interval '1 second' GROUP BY lane) lanes)
"""


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
        with connect(url) as database:
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


def connect(url: str) -> psycopg.Connection[Any]:
    """A new connection of a few seconds: what the server itself can bound, it does."""
    return psycopg.connect(url, connect_timeout=TIMEOUT_S, options=f"-c statement_timeout={TIMEOUT_S * 1000}")


# ---- connections


def check_connections() -> Iterator[Finding]:
    """The server lets in as many as all our processes may open, and is not nearly full."""
    url = database_urls["worker"] or database_urls["web"]
    if not url:
        return
    try:
        with connect(url) as database:
            row = database.execute(LIMITS_SQL, [WORKER_SILENT_S]).fetchone()
    except psycopg.Error:
        return  # the database's own check has said so
    assert row is not None  # noqa: S101  (it is an expression)
    most, reserved, used, workers = row
    free_for_us, wanted = most - reserved, most_connections(workers=workers)
    text = f"{used} of {most} in use (max_connections), {wanted} at most by two lanes with {workers} GPU workers each"
    remedy = (
        f"postgresql.conf: max_connections = {wanted + reserved + 20}, or a smaller STUDIO_DB_POOL; then restart it"
    )
    if used >= NEARLY_FULL * free_for_us:
        yield Finding("fail", "connections", f"nearly all are taken: {text}", remedy)
    elif wanted > free_for_us:
        yield Finding("warn", "connections", f"fewer than we may open: {text}", remedy)
    else:
        yield Finding("ok", "connections", text)


def most_connections(*, workers: int) -> int:
    """What a release in full swing may hold: both lanes, each with its web, stream, errands and GPU workers."""
    pages = settings.DB_POOL * (settings.WEB_PROCESSES + 1)  # the stream asks Django too
    lane = pages + 2 * DOOR + ERRANDS + GPU_WORKER * max(1, workers)
    return LANES * lane + TICKER


# ---- poolers


def check_pooler() -> Iterator[Finding]:
    """No pooler gives our session to somebody else between two transactions: the tenant in scope is the session's."""
    asked = []
    for role, url in database_urls.items():
        if not url:
            continue
        try:
            pooled = shares_sessions(url)
        except psycopg.Error:
            continue  # the database's own check has said so
        if not pooled:
            asked.append(role)
        else:
            remedy = f"{VARIABLES[role]} must lead to PostgreSQL itself, or to a pooler in session mode (docs/data.md)"
            yield Finding("fail", f"pooler, {role}", "a pooler in transaction mode is in between", remedy)
    if asked:
        yield Finding("ok", "pooler", f"none in transaction mode in between ({', '.join(asked)})")


def shares_sessions(url: str) -> bool:
    """Whether two transactions of one connection may run in two sessions.

    The first connection tells its session's process. While the second one holds a transaction, and so (where a pooler
    reuses what is free) that very session, the first one asks again; prepared statements are lost the same way.
    """
    ask = "SELECT pg_backend_pid()"
    with ExitStack() as stack:
        first, second = (stack.enter_context(connect_plain(url)) for _ in range(2))
        before = first.execute(ask).fetchone()
        with second.transaction():
            taken = second.execute(ask).fetchone()
            return taken == before or first.execute(ask).fetchone() != before


def connect_plain(url: str) -> psycopg.Connection[Any]:
    """Without options of ours, which poolers refuse at the start."""
    return psycopg.connect(url, connect_timeout=TIMEOUT_S, autocommit=True, prepare_threshold=None)
