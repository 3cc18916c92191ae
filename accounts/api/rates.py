"""Politeness: how many requests a minute a key (or a member without one) may send.

Quotas are money and live in PostgreSQL; this only keeps one client from crowding out the others, so it is open when
Valkey is away.

Key: `qs:rate:<scope>:<id>`, a counter that lives for one minute from its first request.
"""

from __future__ import annotations

from dataclasses import dataclass

from accounts.domain.callers import Caller
from accounts.errors import QuotaExceeded
from accounts.valkey import count_in_window

WINDOW_S = 60
LIMIT_NAME = "requests_per_minute"


class TooManyRequests(QuotaExceeded):
    """More requests than the plan allows in a minute."""

    code = "rate_limited"


@dataclass(frozen=True, slots=True)
class Rate:
    """Where a caller stands in the running minute."""

    quota: int
    left: int
    resets_in_s: int

    def headers(self) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11)."""
        return {
            "RateLimit-Policy": f'"{LIMIT_NAME}";q={self.quota};w={WINDOW_S}',
            "RateLimit": f'"{LIMIT_NAME}";r={self.left};t={self.resets_in_s}',
        }


def count_request(caller: Caller) -> Rate | None:
    """Count one request; raises `TooManyRequests`. None when nobody counts, because Valkey is away."""
    key = f"qs:rate:{'key' if caller.key else 'member'}:{caller.key or caller.user}"
    found = count_in_window(key, window_s=WINDOW_S)
    if found is None:
        return None
    count, rest_s = found
    quota = caller.plan.requests_per_minute
    if count > quota:
        raise TooManyRequests(
            f"too many requests, max {quota} a minute: try again in {rest_s} s",
            limit=LIMIT_NAME,
            retry_after_s=rest_s,
            quota=quota,
            window_s=WINDOW_S,
        )
    return Rate(quota=quota, left=quota - count, resets_in_s=rest_s)
