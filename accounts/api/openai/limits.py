"""The six `x-ratelimit-*` headers of every answer under `/v1/` to a caller whom we know.

Requests are those of the running minute (`accounts/api/rates.py`), of the caller or of its tenant, whatever is nearer
to its end; tokens those of the day. Where there is no limit, `UNLIMITED` stands for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import DatabaseError

from accounts.api.rates import LIMIT_NAME, TENANT_LIMIT_NAME, Rate
from accounts.domain.callers import Caller
from accounts.domain.left import usage_left
from accounts.domain.limits import MAX_LARGE_LIMIT as UNLIMITED
from accounts.errors import StudioError

log = logging.getLogger(__name__)

Left = tuple[int, int, int]  # limit, what remains, seconds until it is whole again


def ratelimit_headers(caller: Caller, rate: Rate | None, refusal: Exception | None) -> dict[str, str]:
    """The headers; `refusal` is what the request was refused with, where it was."""
    pairs = {"requests": _requests_left(caller, rate, refusal), "tokens": _tokens_left(caller)}
    return {
        f"x-ratelimit-{what}-{kind}": text
        for kind, (limit, remaining, reset_s) in pairs.items()
        for what, text in (("limit", str(limit)), ("remaining", str(remaining)), ("reset", duration(reset_s)))
    }


def _requests_left(caller: Caller, rate: Rate | None, refusal: Exception | None) -> Left:
    if rate is not None:
        nearest = min(rate.windows, key=lambda window: window.left)
        return nearest.quota, nearest.left, nearest.resets_in_s
    if isinstance(refusal, StudioError) and refusal.limit in (LIMIT_NAME, TENANT_LIMIT_NAME):
        return getattr(caller.plan, refusal.limit), 0, refusal.retry_after_s or 1
    whole = caller.plan.requests_per_minute  # nobody counts: Valkey is away
    return whole, whole, 0


def _tokens_left(caller: Caller) -> Left:
    if not any(limits.tokens_per_day for limits in (caller.plan, caller.budget, caller.key_limits)):
        return UNLIMITED, UNLIMITED, 0
    try:
        found = [one for one in usage_left(caller) if one.limit.endswith("tokens_per_day")]
    except DatabaseError as error:  # the answer itself is there already
        log.warning("the tokens that are left could not be read: %s", type(error).__name__)
        return UNLIMITED, UNLIMITED, 0
    limits: Sequence[Left] = [
        (one.quota, one.left, one.resets_in_s) for one in found if one.quota is not None and one.left is not None
    ]
    return min(limits, key=lambda one: one[1], default=(UNLIMITED, UNLIMITED, 0))


def duration(seconds: int) -> str:
    """As OpenAI writes it: `0s`, `59s`, `6m0s`, `23h59m59s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
