"""A breaker's times, ended by hand: no test waits for them, and none is too slow for them."""

from __future__ import annotations

from generation.chat.breaker import KEY, Breaker

PAST_MS, PAST_S = 1, 1e-9  # not 0, which says that it is closed


async def end_rest(breaker: Breaker, upstream: str = "u") -> None:
    """As if an open breaker had rested long enough."""
    breaker._views.clear()
    if breaker._shared is not None:
        await breaker._shared._admit.registered_client.hset(KEY + upstream, "open_until", PAST_MS)
    else:
        breaker._local._found[upstream].open_until = PAST_S


async def end_probe(breaker: Breaker, upstream: str = "u") -> None:
    """As if nobody had heard of its probe for as long as an answer may take."""
    breaker._views.clear()
    if breaker._shared is not None:
        await breaker._shared._admit.registered_client.hset(KEY + upstream, "probe_until", PAST_MS)
    else:
        breaker._local._found[upstream].probe_until = PAST_S
