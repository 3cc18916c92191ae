"""A random walk through everything that can happen to generations, beside a model that knows only the rules.

`Walk` is a state machine of hypothesis. Each of its rules does one thing through the domain and the same thing to a
plain model in Python (`Work`): what was asked for, delivered, run and refused. Then rows, ledger, counters, clocks and
images must be what the model says. It never reads an amount from the database that it compares with the database.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.credit import credit_tenant
from accounts.domain.tenants import restore_tenant, suspend_tenant
from accounts.enums import Metric, Role
from accounts.errors import NotAllowed, QuotaExceeded
from accounts.ids import uuid7
from accounts.models import MemberBudget, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.claim import MAX_LOST, ClaimedRow
from generation.domain.remove import remove_generation
from generation.domain.request import GenerationRequest
from generation.domain.retry import retry_generation
from generation.domain.submit import submit_generation
from generation.enums import FINAL, Status
from generation.errors import AlreadyFinished, NotFinished, QueueFull
from tests.chaos.rig import offer_sleeping_model
from tests.factories import make_key, make_member, make_plan, make_tenant, make_user
from tests.generation.domain.walkmodel import Customer, Look, Work, check_books, would_exceed, year_before
from tests.generation.domain.walkworkers import CONCURRENT, Workers

CHECK_EVERY = 10
RULES = (
    "tenant", "member", "suspend", "year", "credit", "submit", "retry", "cancel", "remove", "claim", "renew", "crash",
    "sweep", "finish", "fail", "release", "drop", "zombie",
)  # fmt: skip
MOST_TENANTS, MOST_CALLERS = 4, 4
QUEUE_LENGTH = 12
IMAGES_PER_DAY = (12, 25, 60)  # of a plan; a budget and a key's limit are half and a third of it
CANCELS_PER_DAY = 5


class Walk(Workers, RuleBasedStateMachine):
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
        self.staff = make_user("staff", is_staff=True, is_superuser=True)
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
            images_per_day=images,
            queue_length=QUEUE_LENGTH,
            concurrent_generations=CONCURRENT,
            cancels_per_day=CANCELS_PER_DAY,
            weight=size + 1,
        )
        tenant, owner = make_tenant(f"Walk {len(self.customers)}", plan=plan)
        customer = Customer(id=tenant.pk, images=images, cancels=CANCELS_PER_DAY)
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
        if pick % 2:
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

    @rule(pick=st.integers(0, 99), metric=st.sampled_from((Metric.IMAGES, Metric.GPU_MS)), amount=st.integers(1, 5))
    def credit(self, pick: int, metric: Metric, amount: int) -> None:
        """Staff give something back; the form is sent twice."""
        customer, token, today = self._any(self.customers, pick), uuid7(), self._today()
        for first in (True, False):
            with across_tenants():
                given = credit_tenant(
                    by_staff=self.staff, tenant=customer.id, metric=metric.value, amount=amount, reason="x", token=token
                )
            assert given == first
        self.credits[customer.id, metric, today] -= amount
        self._did("credit")

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
        over = would_exceed(self, caller, n, today)
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
                    work.unasked = not (work.cost_ms or work.done)
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
        report_multiple_bugs=False,  # one is enough; a search for others would double the time
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
