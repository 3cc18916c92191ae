"""What the random walk (`walk.py`) knows: the rules of a generation's life in plain Python, and what follows from them.

Nothing here reads an amount from the database that it then compares with the database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.enums import Metric
from generation.domain.claim import ClaimedRow
from generation.enums import FINAL, Status

if TYPE_CHECKING:
    from tests.generation.domain.walk import Walk

Look = Callable[..., list[tuple[Any, ...]]]
BYTES = 110  # of an image and its thumbnail, as `draw` has them


@dataclass
class Work:
    """One generation as the rules have it."""

    tenant: UUID
    user: UUID | None
    key: UUID | None
    n: int
    estimate_ms: int
    charged_on: date
    status: str = Status.QUEUED
    done: int = 0
    cost_ms: int = 0
    attempt: int = 0
    lost: int = 0
    fence: int = 0
    expired: bool = False  # its lease has run out
    cancelling: bool = False
    removed: bool = False
    unasked: bool = False  # cancelled before anything of it ran

    @property
    def charge(self) -> dict[Metric, int]:
        """What its ledger must add up to: the reserve while it is open, in the end what was delivered and ran."""
        if self.status not in FINAL:
            return {Metric.IMAGES: self.n, Metric.GPU_MS: self.estimate_ms}
        if self.status == Status.FAILED:
            return {Metric.IMAGES: 0, Metric.GPU_MS: 0}
        return {Metric.IMAGES: self.done, Metric.GPU_MS: self.cost_ms}

    def owns(self, row: ClaimedRow) -> bool:
        """Whether a claim may still write."""
        return self.status == Status.RUNNING and self.fence == row.fence

    def end_run(self, status: str) -> None:
        """Out of its worker's hands."""
        self.status, self.expired = Status.CANCELED if self.cancelling and status == Status.QUEUED else status, False


@dataclass
class Customer:
    """A tenant with its people; its ceilings are those of a day."""

    id: UUID
    images: int
    cancels: int
    suspended: bool = False
    callers: list[Caller] = field(default_factory=list)


def would_exceed(walk: Walk, caller: Caller, n: int, today: date) -> bool:
    """Whether `n` more images pass a ceiling of the tenant, member or key, or too many were cancelled today."""
    customer = next(one for one in walk.customers if one.id == caller.tenant)
    same_day = [one for one in walk.work.values() if one.charged_on == today and one.tenant == caller.tenant]
    credit = walk.credits.get((caller.tenant, Metric.IMAGES, today), 0)
    used = {
        "tenant": sum(one.charge[Metric.IMAGES] for one in same_day) + credit,
        "member": sum(one.charge[Metric.IMAGES] for one in same_day if one.user == caller.user),
        "key": sum(one.charge[Metric.IMAGES] for one in same_day if one.key == caller.key),
    }
    ceilings = {
        "tenant": customer.images,
        "member": caller.budget.images_per_day,
        "key": caller.key_limits.images_per_day if caller.key else None,
    }
    if sum(one.unasked for one in same_day) >= customer.cancels:
        return True
    return any(most is not None and used[scope] + n > most for scope, most in ceilings.items())


def year_before(day: date) -> date:
    """As PostgreSQL counts: the 29th of February becomes the 28th."""
    return date(day.year - 1, day.month, min(day.day, 28) if day.month == 2 else day.day)


def check_books(walk: Walk) -> None:
    """Rows, ledger, counters, clocks and images are what the model says."""
    present = dict(walk._present())
    rows = walk.look("SELECT id, status, n, done, cost_ms, attempt, lost, charged_on FROM generation_generation")
    wanted = {
        (id, work.status, work.n, work.done, work.cost_ms, work.attempt, work.lost, work.charged_on)
        for id, work in present.items()
    }
    same("rows", set(rows), wanted)
    images = walk.look("SELECT generation_id, count(*) FROM generation_image GROUP BY 1")
    same("images", dict(images), {id: work.done for id, work in present.items() if work.done})

    stored = walk.look("SELECT id, stored_bytes FROM accounts_tenant")
    delivered = Counter[UUID]()
    for work in present.values():
        delivered[work.tenant] += BYTES * work.done
    same("storage", dict(stored), {customer.id: delivered[customer.id] for customer in walk.customers})

    given = walk.look(
        "SELECT tenant_id, metric, charged_on, sum(amount)::bigint FROM accounts_ledgerentry"
        " WHERE kind = 'credit' GROUP BY 1, 2, 3"
    )
    same("credits", {tuple(row[:3]): row[3] for row in given}, dict(walk.credits))
    entries = walk.look(
        "SELECT ref, metric, sum(amount)::bigint, count(*) FILTER (WHERE kind = 'reserve'),"
        " count(*) FILTER (WHERE kind <> 'reserve') FROM accounts_ledgerentry WHERE kind <> 'credit' GROUP BY 1, 2"
    )
    same(
        "ledger",
        {(ref, metric): tuple(rest) for ref, metric, *rest in entries},
        {
            (id, metric.value): (amount, 1, int(work.status in FINAL))
            for id, work in walk.work.items()
            for metric, amount in work.charge.items()
        },
    )
    counters = walk.look(
        "SELECT scope, scope_id, metric, period, starts_on, used, reserved FROM accounts_counter"
        " WHERE (used, reserved) <> (0, 0)"
    )
    same("counters", {tuple(row[:5]): row[5:] for row in counters}, sum_counters(walk))
    clocks = walk.look("SELECT tenant, sum(queued)::int, sum(running)::int FROM generation_fairclock GROUP BY 1")
    states = Counter((work.tenant, work.status) for work in walk.work.values())
    same(
        "clocks",
        {tenant: counts for tenant, *counts in clocks},
        {tenant: [states[tenant, Status.QUEUED], states[tenant, Status.RUNNING]] for tenant, *_ in clocks},
    )


def sum_counters(walk: Walk) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Used and reserved per scope, metric and period, from the model alone; zeros are left out."""
    sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for work in walk.work.values():
        for metric, amount in work.charge.items():
            for scope, owner in (("tenant", work.tenant), ("member", work.user), ("key", work.key)):
                for period, starts in (("day", work.charged_on), ("month", work.charged_on.replace(day=1))):
                    if owner is not None:
                        sums[scope, owner, metric.value, period, starts][work.status not in FINAL] += amount
    for (tenant, metric, day), amount in walk.credits.items():
        for period, starts in (("day", day), ("month", day.replace(day=1))):
            sums["tenant", tenant, metric.value, period, starts][0] += amount
    return {key: (used, reserved) for key, (used, reserved) in sums.items() if (used, reserved) != (0, 0)}


def same(what: str, found: Any, wanted: Any) -> None:
    """Compare, and show only what differs."""
    if found == wanted:
        return
    if isinstance(found, set):
        raise AssertionError(f"{what}: found {found - wanted}, wanted {wanted - found}")
    odd = {key for key in {*found, *wanted} if found.get(key) != wanted.get(key)}
    raise AssertionError(f"{what}: " + "; ".join(f"{key}: {found.get(key)} for {wanted.get(key)}" for key in odd))
