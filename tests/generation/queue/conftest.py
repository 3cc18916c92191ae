"""No test inherits another's failed Redis. Read before the servers run: Django is imported inside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _fresh_redis() -> Iterator[None]:
    from accounts.valkey import breaker, redis_client

    breaker.reset()
    redis_client.cache_clear()
    yield
    breaker.reset()
    redis_client.cache_clear()
