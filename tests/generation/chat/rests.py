"""A breaker's times, ended by hand: no test waits for them, and none is too slow for them."""

from __future__ import annotations

from generation.chat.breaker import KEY, Breaker
from generation.chat.wire.valkey import Script

PAST_MS, PAST_S = 1, 1e-9  # not 0, which says that it is closed
_SET = Script("redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return 1")


async def end_rest(breaker: Breaker, upstream: str = "u") -> None:
    """As if an open breaker had rested long enough."""
    await _end(breaker, upstream, "open_until")


async def end_probe(breaker: Breaker, upstream: str = "u") -> None:
    """As if nobody had heard of its probe for as long as an answer may take."""
    await _end(breaker, upstream, "probe_until")


async def _end(breaker: Breaker, upstream: str, name: str) -> None:
    breaker._views.clear()
    if breaker._shared is not None:
        await breaker._shared._scripts.run(_SET, [KEY + upstream], [name, PAST_MS])
    else:
        setattr(breaker._local._found[upstream], name, PAST_S)
