"""Usage: what the ledger says about days, members, keys and models.

Everything is summed from the ledger itself, which outlives pictures, members and keys; what is still under way counts
with what is set aside for it. Credit is no usage and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.domain.roles import Right
from accounts.errors import InvalidField, NotFound
from accounts.models import ApiKey, Counter, Membership, User

DEFAULT_DAYS = 30
MAX_DAYS = 366

# What usage is told by, and the ledger's column for it.
COLUMNS = {"day": "e.charged_on", "member": 'e."user"', "key": "e.key", "model": "e.label"}
GROUPS = tuple(COLUMNS)

# What is summed, and how, from the relation `e`.
SUMMED = ("images", "gpu_ms", "tokens")
SUMS = ", ".join(f"coalesce(sum(e.amount) FILTER (WHERE e.metric = '{name}'), 0)::bigint AS {name}" for name in SUMMED)

_MODEL = re.compile(r"[\w.:/@-]{1,60}")

# Parameters: those of `UsageFilter.parameters`.
WHERE = """e.tenant_id = %(tenant)s AND e.charged_on BETWEEN %(first)s AND %(last)s AND e.kind <> 'credit'
   AND (%(member)s::uuid IS NULL OR e."user" = %(member)s) AND (%(key)s::uuid IS NULL OR e.key = %(key)s)
   AND (%(model)s::text IS NULL OR e.label = %(model)s)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Whose usage, of which UTC days (both ends in it), and how much of it the caller may see."""

    tenant: UUID
    first: date
    last: date
    member: UUID | None
    key: UUID | None
    model: str | None
    everybody: bool  # whether the caller may see more than their own

    @property
    def days(self) -> list[date]:
        """Every day, oldest first."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]

    def parameters(self) -> dict[str, Any]:
        """For the statements that use `WHERE`."""
        return {name: getattr(self, name) for name in ("tenant", "first", "last", "member", "key", "model")}


def narrow_usage(
    *,
    by: Caller,
    first: date | None = None,
    last: date | None = None,
    member: UUID | None = None,
    key: UUID | None = None,
    model: str | None = None,
) -> UsageFilter:
    """The usage that a caller asks for and may see: everybody's with that right, their own otherwise.

    Without days the last 30. Raises `NotAllowed`, `NotFound` (a member or key that is not theirs to see, which is the
    same answer as for none at all), `InvalidField` (days that are none).
    """
    everybody = by.has(Right.SEE_ALL_USAGE)
    if not everybody:
        by.require(Right.SEE_USAGE)
    last = last or today()
    first = first or last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise InvalidField("from must not lie after to", field="from")
    if (last - first).days >= MAX_DAYS:
        raise InvalidField(f"from and to may be {MAX_DAYS} days apart at most", field="from")
    if member is not None:
        _check_member(by, member, everybody=everybody)
    if key is not None:
        _check_key(by, key, everybody=everybody)
    if model is not None and not _MODEL.fullmatch(model):
        raise InvalidField("model must be the name of a model", field="model")
    whose = member if everybody else by.user
    return UsageFilter(
        tenant=by.tenant, first=first, last=last, member=whose, key=key, model=model, everybody=everybody
    )


def today() -> date:
    """The UTC day."""
    return datetime.now(UTC).date()


def read_day(text: str | None, *, name: str) -> date | None:
    """A day in a query, 2026-01-31; `None` where there is none. Raises `InvalidField`."""
    if not text:
        return None
    try:
        found = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        found = None
    if found is None or not 2000 <= found.year <= 9000:
        raise InvalidField(f"{name} must be a day such as 2026-01-31", field=name)
    return found


def name_members(ids: Iterable[UUID]) -> dict[UUID, str]:
    """What to call the people of a ledger; those who have left too."""
    return {user.pk: user.get_short_name() for user in User.objects.filter(pk__in=set(ids))}


def name_keys(ids: Iterable[UUID]) -> dict[UUID, str]:
    """What to call the keys of the tenant's ledger."""
    return dict(ApiKey.objects.filter(pk__in=set(ids)).values_list("pk", "name"))


def _check_member(by: Caller, member: UUID, *, everybody: bool) -> None:
    if member == by.user:
        return
    belongs = Membership.objects.filter(tenant_id=by.tenant, user_id=member)
    # Who has left has left counters behind, if anything.
    if not everybody or not (belongs.exists() or Counter.objects.filter(scope="member", scope_id=member).exists()):
        raise NotFound("no such member")


def _check_key(by: Caller, key: UUID, *, everybody: bool) -> None:
    keys = ApiKey.objects.filter(pk=key)
    if not (keys if everybody else keys.filter(user_id=by.user)).exists():
        raise NotFound("no such api key")
