"""How many chat requests a minute: of a key (or a member without one), and of a tenant's all together.

Both are counted by one script in one round trip, so that nothing comes between; what the caller's own limit refuses
does not count for the tenant. While Valkey is away each process counts for itself: a model's time is dearer than a
page's, so unlike `accounts/api/rates.py` this is not open then.

Keys: `qs:rate:chat:key:<id>`, `qs:rate:chat:member:<id>`, and `qs:rate:tenant:<id>` that pages and API count too;
counters that live for one minute from their first request.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

from accounts.api.rates import TENANT_LIMIT_NAME, WINDOW_S, Rate, TooManyRequests, Window
from accounts.domain.callers import Caller
from generation.chat.breaker import REST_S
from generation.chat.wire.valkey import Script, Scripts, ValkeyAway

log = logging.getLogger(__name__)

LIMIT_NAME = "chat_requests_per_minute"
KEPT = 10_000  # counters of a process that counts for itself

# KEYS: the caller's counter, the tenant's. ARGV: the caller's limit, the tenant's, the window in milliseconds.
# Returns which limit refuses (0: none, 1: the caller's, 2: the tenant's), and count and rest in milliseconds of both.
COUNT = Script("""
local function count(key)
  local n = redis.call('INCR', key)
  local rest = redis.call('PTTL', key)
  if n == 1 or rest < 0 then
    redis.call('PEXPIRE', key, ARGV[3])
    rest = tonumber(ARGV[3])
  end
  return n, rest
end
local own, own_rest = count(KEYS[1])
if own > tonumber(ARGV[1]) then return {1, own, own_rest, 0, 0} end
local all, all_rest = count(KEYS[2])
return {all > tonumber(ARGV[2]) and 2 or 0, own, own_rest, all, all_rest}
""")


class ChatRates:
    """One for each process. Belongs to one event loop."""

    def __init__(self, scripts: Scripts | None) -> None:
        self._scripts = scripts
        self._local = LocalWindows()
        self._refused = LocalWindows()
        self._rests_until = 0.0

    async def count(self, caller: Caller) -> Rate:
        """Count one request. Raises `TooManyRequests`."""
        limits = limits_of(caller)
        pairs = read_counts(limits, await self._count(names_of(caller), (limits[0][1], limits[1][1])))
        return Rate(
            tuple(
                Window(limit=name, quota=quota, left=max(0, quota - count), resets_in_s=rest_s)
                for (name, quota), (count, rest_s) in zip(limits, pairs, strict=True)
            )
        )

    def check_refused(self, caller: Caller) -> None:
        """Raise `TooManyRequests` for whoever sent as many bodies that were refused as it may send requests."""
        read_counts(limits := limits_of(caller), self._refused.look(names_of(caller), (limits[0][1], limits[1][1])))

    def note_refused(self, caller: Caller) -> None:
        """Count one; in this process, whose time it took."""
        for name in names_of(caller):
            self._refused.add(name)

    async def _count(self, names: tuple[str, str], quotas: tuple[int, int]) -> list[int]:
        if self._scripts is not None and time.monotonic() >= self._rests_until:
            try:
                return await self._scripts.run(COUNT, names, [*quotas, WINDOW_S * 1000])
            except ValkeyAway as error:
                self._rests_until = time.monotonic() + REST_S
                log.warning("chat requests are counted by each process, Valkey is away: %s", error)
        return self._local.count(names, quotas)


class LocalWindows:
    """The same in this process."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def count(self, names: tuple[str, str], quotas: tuple[int, int]) -> list[int]:
        """As the script."""
        own, own_rest = self.add(names[0])
        if own > quotas[0]:
            return [1, own, own_rest, 0, 0]
        shared, shared_rest = self.add(names[1])
        return [2 if shared > quotas[1] else 0, own, own_rest, shared, shared_rest]

    def look(self, names: tuple[str, str], quotas: tuple[int, int]) -> list[int]:
        """What one more would come to, without counting it."""
        now = time.monotonic()
        found = [self._found.get(name, (0, 0.0)) for name in names]
        counts = [(count, round((ends - now) * 1000)) if now < ends else (0, 0) for count, ends in found]
        over = [place for place, (count, _) in enumerate(counts) if count >= quotas[place]]
        return [over[0] + 1 if over else 0, *counts[0], *counts[1]]

    def add(self, name: str) -> tuple[int, int]:
        """Count one; how many there are, and for how many milliseconds more."""
        now = time.monotonic()
        count, ends = self._found.pop(name, (0, 0.0))
        if now >= ends:
            count, ends = 0, now + WINDOW_S
        self._found[name] = (count + 1, ends)
        while len(self._found) > KEPT:
            self._found.popitem(last=False)
        return count + 1, round((ends - now) * 1000)


def names_of(caller: Caller) -> tuple[str, str]:
    """The counters of a caller: its own, its tenant's."""
    whose = f"key:{caller.key}" if caller.key else f"member:{caller.user}"
    return f"qs:rate:chat:{whose}", f"qs:rate:tenant:{caller.tenant}"


def limits_of(caller: Caller) -> tuple[tuple[str, int], tuple[str, int]]:
    """Their names and numbers."""
    return (LIMIT_NAME, own_limit(caller)), (TENANT_LIMIT_NAME, caller.plan.tenant_requests_per_minute)


def read_counts(limits: tuple[tuple[str, int], tuple[str, int]], found: list[int]) -> list[tuple[int, int]]:
    """Counts and seconds left of both counters, by the script's answer. Raises `TooManyRequests`."""
    refused, *counted = found
    pairs = [(count, max(1, -(-rest_ms // 1000))) for count, rest_ms in zip(counted[::2], counted[1::2], strict=True)]
    if refused:
        whose = "" if refused == 1 else " of all keys and members of your organisation together"
        (name, quota), (_, rest_s) = limits[refused - 1], pairs[refused - 1]
        raise TooManyRequests(
            f"too many chat requests, max {quota} a minute{whose}: try again in {rest_s} s",
            limit=name,
            retry_after_s=rest_s,
            quota=quota,
            window_s=WINDOW_S,
        )
    return pairs


def own_limit(caller: Caller) -> int:
    """Of the plan, and of the key where it has a lower one."""
    plan, key = caller.plan.chat_requests_per_minute, caller.key_limits.requests_per_minute
    return plan if key is None else min(plan, key)
