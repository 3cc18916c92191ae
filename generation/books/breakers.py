"""The breakers of upstreams for pages, which wait for nobody: one question to Valkey for all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from redis.exceptions import RedisError

from accounts.valkey import redis_client
from generation.chat.breaker import KEY, breaker_state

log = logging.getLogger(__name__)


def read_breakers(upstreams: Sequence[str]) -> Mapping[str, str]:
    """`closed`, `open` or `half_open` of each; nothing while Valkey is away, where each process has its own."""
    if not upstreams:
        return {}
    try:
        pipe = redis_client().pipeline(transaction=False)
        pipe.time()
        for slug in upstreams:
            pipe.hgetall(KEY + slug)
        (seconds, micros), *found = pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("the breakers of upstreams could not be read: %s", type(error).__name__)
        return {}
    now_ms = seconds * 1000 + micros // 1000
    return {slug: breaker_state(fields, now_ms=now_ms) for slug, fields in zip(upstreams, found, strict=True)}
