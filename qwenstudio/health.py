"""/healthz: this process answers. /readyz: it could do its work.

A load balancer takes a process out of service by `/readyz`; a supervisor restarts it by `/healthz`, which therefore
depends on nothing else.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from qwenstudio.connections import connection_parameters

TIMEOUT_S = 2
# One check a second however many ask: each opens a connection of its own.
FRESH_S = 1.0
APPLIED_SQL = "SELECT app, name FROM django_migrations"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was found: `failed` keeps the process out of service, `degraded` does not."""

    failed: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """200 or 503."""
        return 503 if self.failed else 200

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        word = "unavailable" if self.failed else "degraded" if self.degraded else "ready"
        return {"status": word, "failed": self.failed, "degraded": self.degraded, **identity()}


def identity() -> dict[str, str]:
    """Which release of which lane this is."""
    return {"lane": settings.STUDIO_LANE, "release": settings.RELEASE}


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process runs and answers."""
    return JsonResponse({"status": "ok", **identity()})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """The process can do its work: 200, or 503 with what is missing."""
    found = check_readiness()
    return JsonResponse(found.as_dict(), status=found.status)


_lock = threading.Lock()
_last: tuple[float, Readiness] | None = None


def check_readiness() -> Readiness:
    """Database, migrations, storage and Redis, at most one second old."""
    global _last
    with _lock:
        if _last is None or time.monotonic() - _last[0] > FRESH_S:
            _last = (time.monotonic(), _look())
        return _last[1]


def _look() -> Readiness:
    failed = {"database": check_database(), "storage": check_storage()}
    degraded = {"redis": check_redis()}
    return Readiness(
        failed={name: reason for name, reason in failed.items() if reason},
        degraded={name: reason for name, reason in degraded.items() if reason},
    )


def check_database() -> str:
    """Connect anew (an old connection would hide that no new one can be had) and compare the migrations."""
    parameters = {**connection_parameters(), "connect_timeout": TIMEOUT_S}
    try:
        with psycopg.connect(**parameters, options=f"-c statement_timeout={TIMEOUT_S * 1000}") as database:
            applied = set(database.execute(APPLIED_SQL).fetchall())
    except psycopg.Error as error:
        return f"no answer: {type(error).__name__}"
    missing = sorted(known_migrations() - applied)
    return f"migrations not applied: {len(missing)}, first {'.'.join(missing[0])}" if missing else ""


@cache
def known_migrations() -> frozenset[tuple[str, str]]:
    """The migrations of this code. More than these in the database are no harm: a newer release has added to it."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return frozenset(loader.disk_migrations)


def check_storage() -> str:
    """Write a small file where images go."""
    try:
        settings.STUDIO_MEDIA.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix=".ready-", dir=settings.STUDIO_MEDIA)
        try:
            os.write(handle, b"ready")
        finally:
            os.close(handle)
            os.unlink(path)
    except OSError as error:
        return f"not writable: {error.strerror}"
    return ""


def check_redis() -> str:
    """Ask for a PING. Without Redis work is done all the same, up to one sweep (5 s) later."""
    if not settings.REDIS_URL:
        return "not configured"
    seconds = settings.REDIS_TIMEOUT_S
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=seconds, socket_connect_timeout=seconds)
    try:
        client.ping()
    except redis.RedisError as error:
        return f"no answer: {type(error).__name__}"
    finally:
        client.close()
    return ""
