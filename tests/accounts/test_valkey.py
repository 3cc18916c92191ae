"""The process's Redis client."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from accounts import valkey


def test_the_first_requests_of_a_process_share_one_client(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """A second one would go at once, and close the connection that its asker uses: a page with status 500."""
    real, start, made = valkey._make_client, threading.Barrier(8), []

    def make(**options: Any) -> Any:
        made.append(real(**options))
        time.sleep(0.1)  # as long as the others need to come here too
        return made[-1]

    monkeypatch.setattr(valkey, "_make_client", make)
    valkey.redis_client.cache_clear()

    def ask(number: int) -> Any:
        start.wait(60)
        return valkey.redis_client()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    assert len(made) == 1 and all(client is made[0] for client in found)
    assert found[0].ping()
    valkey.redis_client.cache_clear()
