"""The limits there are: of a plan, of a tenant's own, of a member, of a key. Frozen copies, and how they are checked.

They hold together: a tenant's own replace its plan's; a member's and a key's come on top, with their own counters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from accounts.errors import InvalidField

MAX_LIMIT = 2**31 - 1
MAX_LARGE_LIMIT = 2**53 - 1  # milliseconds and bytes; what JavaScript still counts exactly
_SMALL_MOST = 32_767  # columns of 16 bits
_MOST = {
    **dict.fromkeys(("gpu_ms_per_day", "gpu_ms_per_month", "tokens_per_day", "storage_bytes"), MAX_LARGE_LIMIT),
    **dict.fromkeys(("weight", "max_steps", "max_images"), _SMALL_MOST),
}


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """A frozen copy of a tenant's plan (`accounts.models.Plan`) with its own limits in it; `None`: no limit."""

    slug: str
    weight: int
    gpu_ms_per_day: int | None
    gpu_ms_per_month: int | None
    images_per_day: int | None
    images_per_month: int | None
    tokens_per_day: int | None
    concurrent_generations: int
    queue_length: int
    max_pixels: int
    max_steps: int
    max_images: int
    requests_per_minute: int
    tenant_requests_per_minute: int
    chat_requests_per_minute: int
    concurrent_chats: int
    cancels_per_day: int | None
    storage_bytes: int | None
    retention_days: int | None


@dataclass(frozen=True, slots=True)
class Budget:
    """What one member may use; each is a counter of its own. `None`: as much as the tenant."""

    images_per_day: int | None = None
    images_per_month: int | None = None
    gpu_ms_per_day: int | None = None
    gpu_ms_per_month: int | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class KeyLimits(Budget):
    """What a key may use, and what one request with it may be."""

    requests_per_minute: int | None = None
    concurrent_chats: int | None = None
    max_pixels: int | None = None
    max_steps: int | None = None


PLAN_COLUMNS = tuple(field.name for field in fields(PlanLimits))
TENANT_LIMITS = tuple(name for name in PLAN_COLUMNS if name != "slug")
# Of these a plan may set none.
_UNLIMITED = ("gpu_ms_per_day", "gpu_ms_per_month", "images_per_day", "images_per_month", "tokens_per_day")
UNLIMITED = (*_UNLIMITED, "cancels_per_day", "storage_bytes", "retention_days")
BUDGET_LIMITS = tuple(field.name for field in fields(Budget))
KEY_LIMITS = tuple(field.name for field in fields(KeyLimits))


def check_limits(limits: Mapping[str, object], *, allowed: Collection[str], unlimited: Collection[str] = ()) -> None:
    """Raise `InvalidField` for a limit that is unknown, or no whole number from 1 to its bound (or `None`)."""
    for name, value in limits.items():
        if name not in allowed:
            known = ", ".join(allowed)
            raise InvalidField(f"unknown limit {str(name)[:40]!r}; use some of {known}", field="limits")
        if value is None and name in unlimited:
            continue
        most = most_of(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise InvalidField(f"{name} must be a whole number from 1 to {most}", field="limits")


def most_of(name: str) -> int:
    """The largest value that a limit may have."""
    return _MOST.get(name, MAX_LIMIT)


def read_plan(row: Mapping[str, Any]) -> PlanLimits:
    """The plan's columns of a row (`plan_…`), with the tenant's own limits (`tenant_limits`) in their places."""
    plan = PlanLimits(**{name: row[f"plan_{name}"] for name in PLAN_COLUMNS})
    own = _read(row["tenant_limits"], TENANT_LIMITS)
    return replace(plan, **own) if own else plan


def read_budget(stored: str | Mapping[str, Any] | None) -> Budget:
    """`MemberBudget.limits`; what this release does not know is passed over."""
    return Budget(**_read(stored, BUDGET_LIMITS))


def read_key_limits(stored: str | Mapping[str, Any] | None) -> KeyLimits:
    """`ApiKey.limits`, likewise."""
    return KeyLimits(**_read(stored, KEY_LIMITS))


def lower_plan(plan: PlanLimits, limits: KeyLimits) -> PlanLimits:
    """The plan as it holds for requests with a key; not the sums, for which a key has counters of its own."""
    lowered = {
        name: min(value, getattr(plan, name))
        for name in ("requests_per_minute", "max_pixels", "max_steps")
        if (value := getattr(limits, name)) is not None
    }
    return replace(plan, **lowered) if lowered else plan


def _read(stored: str | Mapping[str, Any] | None, names: Collection[str]) -> dict[str, Any]:
    # Django's connections give jsonb as text, the door's as objects.
    limits = orjson.loads(stored) if isinstance(stored, str) else stored or {}
    return {name: value for name, value in limits.items() if name in names}
