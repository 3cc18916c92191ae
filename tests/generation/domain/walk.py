"""A random walk through everything that can happen to generations, beside a model that knows only the rules.

`Walk` is a state machine of hypothesis. Each of its rules does one thing through the domain and the same thing to a
plain model in Python (`Work`): what was asked for, delivered, run and refused. Then rows, ledger, counters, clocks and
images must be what the model says. It never reads an amount from the database that it compares with the database.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.tenants import restore_tenant, suspend_tenant
from accounts.enums import Metric, Role
from accounts.errors import NotAllowed, QuotaExceeded
from accounts.models import MemberBudget, Plan, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation, cancel_running
from generation.domain.claim import MAX_LOST, ClaimedRow, renew_claims
from generation.domain.finish import MAX_ATTEMPTS, add_warning, fail_row, finish_slice, release_row
from generation.domain.remove import remove_generation
from generation.domain.request import GenerationRequest
from generation.domain.retry import retry_generation
from generation.domain.submit import submit_generation
from generation.domain.sweep import sweep
from generation.enums import FINAL, Status
from generation.errors import AlreadyFinished, NotFinished, QueueFull
from tests.chaos.rig import offer_sleeping_model
from tests.factories import make_key, make_member, make_plan, make_tenant
from tests.generation.domain.desk import claim, draw

Look = Callable[..., list[tuple[Any, ...]]]
CHECK_EVERY = 10
RULES = (
    "tenant", "member", "suspend", "year", "submit", "retry", "cancel", "remove", "claim", "renew", "crash", "sweep",
    "finish", "fail", "release", "drop", "zombie",
)  # fmt: skip
MOST_TENANTS, MOST_CALLERS = 4, 4
QUEUE_LENGTH = 12
IMAGES_PER_DAY = (12, 25, 60)  # of a plan; a budget and a key's limit are half and a third of it
CONCURRENT = 4


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
    """A tenant with its people; the ceilings are on images a day."""

    id: UUID
    plan: Plan
    images: int
    suspended: bool = False
    callers: list[Caller] = field(default_factory=list)


class Walk(RuleBasedStateMachine):
    """`look` reads as the administrator, `wipe` empties the database; `counts` says what was done over all runs.

    Which of two equal rows a claim takes is chance, so no rule is shut while something is missing, as hypothesis would
    have it by `precondition`: it would then draw differently. A rule that finds nothing to do does the next best thing.
    """

    look: Look
    wipe: Callable[[], None]
    counts: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.customers: list[Customer] = []
        self.work: dict[UUID, Work] = {}
        self.held: list[ClaimedRow] = []
        self.zombies: list[ClaimedRow] = []
        self.credits: dict[tuple[UUID, Metric, date], int] = defaultdict(int)
        self.steps = 0

    @initialize()
    def begin(self) -> None:
        offer_sleeping_model()
        self.add_tenant(0)
        self.add_tenant(2)
        for turn in range(4):
            self.submit(turn, n=1 + turn, side=64)
        self.crash(self.held.index(self._claim(1)[0]))

    # ---- tenants and members

    @rule(size=st.integers(0, len(IMAGES_PER_DAY) - 1))
    def add_tenant(self, size: int) -> None:
        if len(self.customers) == MOST_TENANTS:
            self.submit(size, 1, 64)
            return
        images = IMAGES_PER_DAY[size]
        plan = make_plan(
            images_per_day=images, queue_length=QUEUE_LENGTH, concurrent_generations=CONCURRENT, weight=size + 1
        )
        tenant, owner = make_tenant(f"Walk {len(self.customers)}", plan=plan)
        customer = Customer(id=tenant.pk, plan=plan, images=images)
        customer.callers.append(caller_of_member(user_id=owner.pk, tenant_id=tenant.pk))
        _, secret = make_key(tenant, owner, limits={"images_per_day": max(1, images // 3)})
        customer.callers.append(caller_of_key(secret, address=None))
        self.customers.append(customer)
        self._did("tenant")

    @rule(pick=st.integers(0, 99))
    def add_member(self, pick: int) -> None:
        open_ones = [one for one in self.customers if len(one.callers) < MOST_CALLERS and not one.suspended]
        if not open_ones:
            self.submit(pick, 1, 64)
            return
        customer = self._any(open_ones, pick)
        with across_tenants():
            tenant = Tenant.objects.get(pk=customer.id)
        user = make_member(tenant, Role.MEMBER)
        with in_tenant(customer.id):
            MemberBudget.objects.create(
                tenant_id=customer.id, user=user, limits={"images_per_day": max(1, customer.images // 2)}
            )
        customer.callers.append(caller_of_member(user_id=user.pk, tenant_id=customer.id))
        self._did("member")

    @rule(pick=st.integers(0, 99))
    def suspend_or_restore(self, pick: int) -> None:
        suspended = [one for one in self.customers if one.suspended]
        if not suspended and pick % 4:  # seldom, and not for long: nothing of theirs is drawn meanwhile
            self.claim(8)
            return
        customer = self._any(suspended or self.customers, pick)
        with across_tenants():
            tenant = Tenant.objects.get(pk=customer.id)
        change = restore_tenant if customer.suspended else suspend_tenant
        change(tenant, reason="the walk")
        customer.suspended = not customer.suspended
        try:
            caller_of_member(user_id=customer.callers[0].user, tenant_id=customer.id)
        except NotAllowed:
            assert customer.suspended
        else:
            assert not customer.suspended
        self._did("suspend")

    @rule(pick=st.integers(0, 99))
    def let_a_year_pass(self, pick: int) -> None:
        """New days and months begin; what is open stays charged to the days of its reserve."""
        if pick % 4:
            self.submit(pick, 1, 128)
            return
        for table, column in (
            ("generation_generation", "charged_on"),
            ("accounts_ledgerentry", "charged_on"),
            ("accounts_counter", "starts_on"),
        ):
            for years in (5000, -5001):  # there and back: a unique row must not meet the next year's on its way
                self.look(f"UPDATE {table} SET {column} = ({column} + interval '{years} years')::date RETURNING 1")
        for work in self.work.values():
            work.charged_on = year_before(work.charged_on)
        self.credits = defaultdict(
            int, {(who, what, year_before(day)): amount for (who, what, day), amount in self.credits.items()}
        )
        self._did("year")

    # ---- asking

    @rule(pick=st.integers(0, 99), n=st.sampled_from((1, 1, 1, 2, 3, 10)), side=st.sampled_from((64, 128)))
    def submit(self, pick: int, n: int, side: int) -> None:
        caller = self._any(self._callers(), pick)
        request = GenerationRequest(model="demo", prompt="a red circle", width=side, height=side, seed=7, n=n)
        with in_tenant(caller.tenant):
            self._ask(caller, n, lambda: submit_generation(caller=caller, request=request).id)
        self._did("submit")

    @rule(pick=st.integers(0, 9999), who=st.integers(0, 99))
    def retry(self, pick: int, who: int) -> None:
        if not self._present():
            self.submit(pick, 1, 64)
            return
        id, work = self._any(self._present(), pick)
        caller = self._any(next(one.callers for one in self.customers if one.id == work.tenant), who)
        with in_tenant(work.tenant):
            if work.status in FINAL:
                self._ask(caller, work.n, lambda: retry_generation(id, caller).id)
            else:
                refused(NotFinished, lambda: retry_generation(id, caller))
        self._did("retry")

    def _ask(self, caller: Caller, n: int, ask: Callable[[], UUID]) -> None:
        """A submit that must be taken or refused exactly as the model says."""
        today = self._today()
        over = self._over(caller, n, today)
        waiting = sum(one.status == Status.QUEUED for one in self.work.values() if one.tenant == caller.tenant)
        if over or waiting >= QUEUE_LENGTH:
            refused(QuotaExceeded if over else QueueFull, ask)
            return
        id = ask()
        self.work[id] = Work(
            tenant=caller.tenant, user=caller.user, key=caller.key, n=n, charged_on=today,
            # What a picture is thought to take is the cost table's word, which other tests look at.
            estimate_ms=self.look("SELECT estimate_ms FROM generation_generation WHERE id = %s", id)[0][0],
        )  # fmt: skip

    def _over(self, caller: Caller, n: int, today: date) -> bool:
        """Whether `n` more images would pass the ceiling of the tenant, of the member or of the key."""
        same_day = [one for one in self.work.values() if one.charged_on == today and one.tenant == caller.tenant]
        used = {
            "tenant": sum(one.charge[Metric.IMAGES] for one in same_day)
            + self.credits[caller.tenant, Metric.IMAGES, today],
            "member": sum(one.charge[Metric.IMAGES] for one in same_day if one.user == caller.user),
            "key": sum(one.charge[Metric.IMAGES] for one in same_day if one.key == caller.key),
        }
        ceilings = {
            "tenant": next(one.images for one in self.customers if one.id == caller.tenant),
            "member": caller.budget.images_per_day,
            "key": caller.key_limits.images_per_day if caller.key else None,
        }
        return any(most is not None and used[scope] + n > most for scope, most in ceilings.items())

    @rule(pick=st.integers(0, 9999))
    def cancel(self, pick: int) -> None:
        if not self._present():
            self.submit(pick, 1, 64)
            return
        id, work = self._any(self._present(), pick)
        with in_tenant(work.tenant):
            if work.status in (Status.SUCCEEDED, Status.FAILED):
                refused(AlreadyFinished, lambda: cancel_generation(id))
            else:
                cancel_generation(id)
                work.cancelling = True
                if work.status == Status.QUEUED:
                    work.status = Status.CANCELED
        self._did("cancel")

    @rule(pick=st.integers(0, 9999))
    def remove(self, pick: int) -> None:
        if not any(work.status in FINAL for _, work in self._present()):
            self.cancel(pick)
            return
        id, work = self._any(self._present(), pick)
        with in_tenant(work.tenant):
            if work.status in FINAL:
                remove_generation(id)
                work.removed = True
            else:
                refused(NotFinished, lambda: remove_generation(id))
        self._did("remove")

    # ---- working

    @rule(most=st.sampled_from((1, 8, 8)))
    def claim(self, most: int) -> None:
        self._claim(most)
        self._did("claim")

    @rule(most=st.sampled_from((1, 8)), fate=st.sampled_from(("finish", "finish", "crash", "fail")))
    def claim_and_end(self, most: int, fate: str) -> None:
        """A worker's whole turn: all rows of a pass meet the same end."""
        for row in self._claim(most):
            end: Callable[[int], None] = {
                "finish": lambda place: self.finish(place, 90),
                "crash": self.crash,
                "fail": lambda place: self.fail(place, True),
            }[fate]
            end(self.held.index(row))
        self._did("claim")

    def _claim(self, most: int) -> list[ClaimedRow]:
        taken = claim(models={"demo": most})
        self._requeue_expired()  # a claim begins with that
        rows = list(taken.rows) if taken else []
        for row in rows:
            work = self.work[row.id]
            assert work.status == Status.QUEUED, "claimed what was not waiting"
            assert row.fence > work.fence
            assert not next(one for one in self.customers if one.id == row.tenant).suspended
            work.status, work.fence = Status.RUNNING, row.fence
        self.held += rows
        for customer in self.customers:
            running = [one for one in self.work.values() if one.tenant == customer.id and one.status == Status.RUNNING]
            assert len(running) <= CONCURRENT
        return rows

    @rule(pick=st.integers(0, 99))
    def renew(self, pick: int) -> None:
        if not self.held:
            self.claim(8)
            return
        row = self._any(self.held, pick)
        renewal = renew_claims({row.id: row.fence}, steps={row.id: 1}, lease_s=30)
        assert (row.id in renewal.lost) == (not self.work[row.id].owns(row))
        assert (row.id in renewal.cancelled) == (self.work[row.id].owns(row) and self.work[row.id].cancelling)
        self._did("renew")

    @rule(pick=st.integers(0, 99))
    def crash(self, pick: int) -> None:
        """Its worker is gone or hangs: the lease runs out, and the worker may still come back with its picture."""
        if not self.held:
            self.claim(8)
            return
        row = self.held.pop(pick % len(self.held))
        self.zombies.append(row)
        work = self.work[row.id]
        if work.owns(row):
            sql = "UPDATE generation_generation SET lease_until = now() - interval '1 s' WHERE id = %s RETURNING 1"
            self.look(sql, row.id)
            work.expired = True
        self._did("crash")

    @rule()
    def sweep(self) -> None:
        report = sweep()
        assert not report.errors and not report.repaired, report
        self._requeue_expired()
        for work in self.work.values():
            if work.expired:  # for the last time, or while it was to be cancelled
                work.lost += 1
                work.fence += 1
                work.end_run(Status.CANCELED if work.cancelling else Status.FAILED)
        self._did("sweep")

    @rule(pick=st.integers(0, 99), ms=st.integers(0, 400))
    def finish(self, pick: int, ms: int) -> None:
        if not self.held:
            self.claim(8)
            return
        self._finish(self.held.pop(pick % len(self.held)), ms)
        self._did("finish")

    @rule(pick=st.integers(0, 99), retry=st.booleans())
    def fail(self, pick: int, retry: bool) -> None:
        if not self.held:
            self.claim(8)
            return
        self._fail(self.held.pop(pick % len(self.held)), retry)
        self._did("fail")

    @rule(pick=st.integers(0, 99))
    def release(self, pick: int) -> None:
        if not self.held:
            self.claim(8)
            return
        self._release(self.held.pop(pick % len(self.held)))
        self._did("release")

    @rule(pick=st.integers(0, 99), ms=st.integers(0, 400))
    def drop(self, pick: int, ms: int) -> None:
        """A worker drops a row that was cancelled."""
        if not self.held:
            self.claim(8)
            return
        self._drop(self.held.pop(pick % len(self.held)), ms)
        self._did("drop")

    @rule(pick=st.integers(0, 99), way=st.sampled_from(("finish", "finish", "fail", "release", "drop", "warn")))
    def zombie(self, pick: int, way: str) -> None:
        """Somebody comes back with a fence that may be stale; it may come back again and again."""
        if not self.zombies:
            self.crash(pick)
            return
        row = self._any(self.zombies, pick)
        if way == "finish":
            self._finish(row, 60)
        elif way == "fail":
            self._fail(row, True)
        elif way == "release":
            self._release(row)
        elif way == "drop":
            self._drop(row, 30)
        else:
            said = add_warning(row=row, code=f"walk-{self.steps}", detail="late")
            assert said == self.work[row.id].owns(row)
        self._did("zombie")

    def _finish(self, row: ClaimedRow, ms: int) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        outcome = finish_slice(row=row, images=draw(row), run_ms=ms)
        if not owned:
            assert outcome == "lost"
            return
        work.done += len(row.seeds)
        work.cost_ms += ms
        work.end_run(Status.SUCCEEDED if work.done >= work.n else Status.QUEUED)
        assert outcome == ("continues" if work.status == Status.QUEUED else "finished")

    def _fail(self, row: ClaimedRow, retry: bool) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        outcome = fail_row(row=row, code="engine_error", message="bad", retry=retry)
        if not owned:
            assert outcome == "lost"
            return
        work.attempt += 1
        again = work.cancelling or (retry and work.attempt < MAX_ATTEMPTS)
        work.end_run(Status.QUEUED if again else Status.FAILED)
        assert outcome == ("retried" if work.status == Status.QUEUED else "failed")

    def _release(self, row: ClaimedRow) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        assert release_row(row=row) == owned
        if owned:
            work.end_run(Status.QUEUED)

    def _drop(self, row: ClaimedRow, ms: int) -> None:
        work, owned = self.work[row.id], self.work[row.id].owns(row)
        assert cancel_running(row=row, run_ms=ms) == owned
        if owned:
            work.cost_ms += ms
            work.cancelling = True
            work.end_run(Status.CANCELED)

    def _requeue_expired(self) -> None:
        for work in self.work.values():
            if work.expired and work.lost + 1 < MAX_LOST and not work.cancelling:
                work.lost += 1
                work.fence += 1
                work.end_run(Status.QUEUED)

    # ---- looking

    def _callers(self) -> list[Caller]:
        return [caller for customer in self.customers for caller in customer.callers if not customer.suspended] or [
            caller for customer in self.customers for caller in customer.callers
        ]

    def _present(self) -> list[tuple[UUID, Work]]:
        return [(id, work) for id, work in self.work.items() if not work.removed]

    def _today(self) -> date:
        today: date = self.look("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]
        return today

    @staticmethod
    def _any(things: Any, pick: int) -> Any:
        return things[pick % len(things)]

    def _did(self, what: str) -> None:
        self.counts[what] += 1
        self.steps += 1

    @invariant()
    def books(self) -> None:
        if self.steps % CHECK_EVERY == 0:
            check_books(self)

    def teardown(self) -> None:
        """Everything comes to its end, and then nothing is reserved and nobody waits."""
        try:
            if sys.exc_info()[0] is None:  # a failure is told by itself
                self._end_everything()
        finally:
            self.wipe()

    def _end_everything(self) -> None:
        for place, customer in enumerate(self.customers):
            if customer.suspended:
                self.suspend_or_restore(place)
        while self.held:
            self._finish(self.held.pop(), 60)
        while any(work.status not in FINAL for work in self.work.values()):
            self.sweep()
            self._claim(8)
            while self.held:
                self._finish(self.held.pop(), 60)
        check_books(self)
        self.counts.update(f"ended {work.status}" for work in self.work.values())
        self.counts["ended by lost leases"] += sum(work.lost == MAX_LOST for work in self.work.values())
        idle = (
            "SELECT count(*) FROM generation_fairclock WHERE (queued, queued_ms, running, running_ms) <> (0, 0, 0, 0)"
        )
        assert self.look(idle) == [(0,)]
        assert self.look("SELECT count(*) FROM accounts_counter WHERE reserved <> 0") == [(0,)]


def refused(error: type[Exception], ask: Callable[[], object]) -> None:
    """The call must be refused, and for this reason."""
    try:
        ask()
    except error:
        return
    raise AssertionError(f"it should have been refused: {error.__name__}")


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


def make_walk(look: Look, wipe: Callable[[], None]) -> type[Walk]:
    """A walk of its own, over the database that these two reach."""
    return type("OwnWalk", (Walk,), {"look": staticmethod(look), "wipe": staticmethod(wipe), "counts": Counter()})


def walk_settings(*, runs: int, steps: int, random: bool = False) -> settings:
    """The same walk every time, unless `random`; no deadline, and no minutes spent on shrinking."""
    return settings(
        max_examples=runs,
        stateful_step_count=steps,
        derandomize=not random,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
