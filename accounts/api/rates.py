"""Politeness: how many requests a minute a key (or a member without one) may send, and a tenant's all together.

Quotas are money and live in PostgreSQL; this only keeps one client from crowding out the others, so it is open when
Valkey is away. The tenant's count is there because a key is quickly made: a hundred of them are no hundred times as
many requests. What the caller's own limit refuses does not count for the tenant, so that one client in a loop does not
shut out its colleagues.

Keys: `qs:rate:key:<id>`, `qs:rate:member:<id>`, `qs:rate:tenant:<id>`: counters that live for one minute from their
first request.
"""

from __future__ import annotations

from dataclasses import dataclass

from accounts.domain.callers import Caller
from accounts.errors import QuotaExceeded
from accounts.valkey import count_in_window

WINDOW_S = 60
LIMIT_NAME = "requests_per_minute"
TENANT_LIMIT_NAME = "tenant_requests_per_minute"


class TooManyRequests(QuotaExceeded):
    """More requests than the plan allows in a minute."""

    code = "rate_limited"


@dataclass(frozen=True, slots=True)
class Window:
    """Where a limit stands in its running minute."""

    limit: str
    quota: int
    left: int
    resets_in_s: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Where a caller stands, and its tenant."""

    windows: tuple[Window, ...]

    def headers(self) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), the caller's own first."""
        return {
            "RateLimit-Policy": ", ".join(f'"{found.limit}";q={found.quota};w={WINDOW_S}' for found in self.windows),
            "RateLimit": ", ".join(f'"{found.limit}";r={found.left};t={found.resets_in_s}' for found in self.windows),
        }


def count_request(caller: Caller) -> Rate | None:
    """Count one request; raises `TooManyRequests`. None when nobody counts, because Valkey is away."""
    plan = caller.plan
    own = _count(
        f"qs:rate:{'key' if caller.key else 'member'}:{caller.key or caller.user}",
        limit=LIMIT_NAME,
        quota=plan.requests_per_minute,
        whose="",
    )
    shared = own and _count(
        f"qs:rate:tenant:{caller.tenant}",
        limit=TENANT_LIMIT_NAME,
        quota=plan.tenant_requests_per_minute,
        whose=" of all keys and members of your organisation together",
    )
    return Rate((own, shared)) if own and shared else None


def _count(name: str, *, limit: str, quota: int, whose: str) -> Window | None:
    found = count_in_window(name, window_s=WINDOW_S)
    if found is None:
        return None
    count, rest_s = found
    if count > quota:
        raise TooManyRequests(
            f"too many requests, max {quota} a minute{whose}: try again in {rest_s} s",
            limit=limit,
            retry_after_s=rest_s,
            quota=quota,
            window_s=WINDOW_S,
        )
    return Window(limit=limit, quota=quota, left=quota - count, resets_in_s=rest_s)
