"""Redis or Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from qwenstudio.doctor.finding import TIMEOUT_S, Finding

OLDEST_REDIS = (6, 2)
NEARLY_FULL = 0.9


def check_redis() -> Iterator[Finding]:
    """It answers, is new enough, evicts no jobs, and has room."""
    if not settings.REDIS_URL:
        yield Finding("warn", "redis", "REDIS_URL is not set: wake-ups wait for the sweep (5 s)", "start one: make run")
        return
    bounds = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    client = redis.Redis.from_url(settings.REDIS_URL, **bounds)
    try:
        info: dict[str, Any] = client.info()
    except redis.RedisError as error:
        yield Finding("warn", "redis", f"{error}", "start it: until then wake-ups wait for the sweep (5 s)")
        return
    finally:
        client.close()
    version = str(info.get("valkey_version") or info["redis_version"])
    program = "Valkey" if "valkey_version" in info else "Redis"
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if program == "Redis" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        yield Finding("warn", "redis", f"Redis {version} is too old", "Redis 6.2 or Valkey 8, or newer")
    elif info.get("maxmemory_policy", "noeviction") != "noeviction":
        policy = info["maxmemory_policy"]
        yield Finding("warn", "redis", f"maxmemory-policy is {policy}: jobs may vanish", "set it to noeviction")
    elif most and used >= NEARLY_FULL * most:
        yield Finding("warn", "redis", f"{used / most:.0%} of its maxmemory are used", "set maxmemory higher")
    else:
        yield Finding("ok", "redis", f"{program} {version}")
