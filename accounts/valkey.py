"""The one place where Redis clients are made. They carry ids and events; nothing that would be missed is kept there.

Keys of the studio in Redis: `rq:*` (RQ's own, wake-ups only), `qs:bus` (`generation/queue/progress.py`), `qs:rate:*`
(`accounts/api/rates.py`), `qs:places:*` (`accounts/domain/places.py`), `qs:tries:*` (`accounts/web/throttle.py`),
`qs:chat:*` (`generation/chat/breaker.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)

REST_S = 5.0  # after a failure nobody here asks Redis for so long: a hanging one would cost each request a second
_BLOCK_S = 3.0  # longer than any blocking read of a worker, short enough for a Redis that hangs

# KEYS[1]: the counter. ARGV[1]: the window in milliseconds. Returns the count with this one, and the window's rest.
COUNT_LUA = """
local count = redis.call('INCR', KEYS[1])
local rest = redis.call('PTTL', KEYS[1])
if count == 1 or rest < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  rest = tonumber(ARGV[1])
end
return {count, rest}
"""

# Nobody answers at this port: without REDIS_URL every call fails at once, as with a Redis that is down.
_NOBODY = "redis://127.0.0.1:1/0"


class OneClient:
    """The process's client: one second to connect, one to answer, no second try. Safe in threads.

    It is made once, also where the first requests of a process come at the same moment (`functools.cache` would make
    several then): a client that nobody keeps closes its connections when it goes, also the one that its asker uses.
    """

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._client: Redis | None = None

    def __call__(self) -> Redis:
        """The client."""
        with self._making:
            if self._client is None:
                self._client = _make_client(timeout_s=settings.REDIS_TIMEOUT_S)
            return self._client

    def cache_clear(self) -> None:
        """For tests that change the address."""
        with self._making:
            self._client = None


redis_client = OneClient()


def blocking_connection() -> Redis:
    """A client of its own for a worker that waits for wake-ups with blocking reads."""
    return _make_client(timeout_s=_BLOCK_S)


def _make_client(*, timeout_s: float) -> Redis:
    return Redis.from_url(
        settings.REDIS_URL or _NOBODY,
        socket_connect_timeout=settings.REDIS_TIMEOUT_S,
        socket_timeout=timeout_s,
        # The library's default tries three more times, which makes four seconds of one.
        retry=Retry(NoBackoff(), 0),
    )


class Breaker:
    """Remembers that Redis has just failed. One for each process."""

    def __init__(self, *, rest_s: float = REST_S) -> None:
        self._rest_s = rest_s
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self._down = False

    @property
    def rests(self) -> bool:
        """Whether the last failure is so fresh that another try would only cost time."""
        return time.monotonic() < self._rests_until

    def reset(self) -> None:
        """Forget it."""
        self._rests_until, self._down = 0.0, False

    def attempt(self, what: str, act: Callable[[], object]) -> bool:
        """Run a call to Redis; whether it worked. A failure is noted and logged once, never raised.

        While Redis rests nothing is tried. Whoever needs what was not said reads PostgreSQL.
        """
        if self.rests:
            return False
        try:
            act()
        except (RedisError, OSError) as error:
            with self._lock:
                self._rests_until = time.monotonic() + self._rest_s
                first, self._down = not self._down, True
            logger.log(logging.WARNING if first else logging.DEBUG, "Redis is away, could not %s: %s", what, error)
            return False
        with self._lock:
            back, self._down = self._down, False
        if back:
            logger.info("Redis answers again")
        return True


breaker = Breaker()


def count_in_window(name: str, *, window_s: int) -> tuple[int, int] | None:
    """Count one more under a name, in a window that begins with the first: the count, and the seconds that are left.

    `None` where nobody counts, because Valkey is away.
    """
    found = count_in_windows([name], window_s=window_s)
    return found[0] if found else None


def count_in_windows(names: Sequence[str], *, window_s: int) -> list[tuple[int, int]] | None:
    """The same for several names, in one round trip."""

    def ask() -> None:
        with redis_client().pipeline(transaction=False) as pipe:
            for name in names:
                pipe.eval(COUNT_LUA, 1, name, window_s * 1000)
            found.extend(pipe.execute())

    found: list[list[int]] = []
    if not breaker.attempt("count", ask):
        return None
    return [(count, max(1, -(-rest_ms // 1000))) for count, rest_ms in found]


def read_windows(names: Sequence[str]) -> list[tuple[int, int]] | None:
    """What is counted under these names, and the seconds that are left of each window; `None` as above."""

    def ask() -> None:
        with redis_client().pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(name)
                pipe.pttl(name)
            found.extend(pipe.execute())

    found: list[Any] = []
    if not breaker.attempt("read counts", ask):
        return None
    pairs = zip(found[::2], found[1::2], strict=True)
    return [(int(count or 0), max(0, -(-rest_ms // 1000))) for count, rest_ms in pairs]


def forget_window(name: str) -> None:
    """Begin a count anew; while Valkey is away it ends with its window."""
    breaker.attempt("forget a count", lambda: redis_client().delete(name))
