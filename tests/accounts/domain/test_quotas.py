"""Quotas: nothing is overbooked, nothing is charged twice, and the counters are the ledger's sums."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Iterator
from datetime import date
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.domain.callers import Caller, caller_of_member
from accounts.domain.left import usage_left
from accounts.domain.quotas import refund, reserve, settle
from accounts.domain.rebuild import rebuild_counters
from accounts.enums import EntryKind, Metric
from accounts.errors import AlreadySettled, QuotaExceeded
from accounts.ids import uuid7
from accounts.models import Counter, LedgerEntry
from accounts.tenancy import in_tenant
from tests.at_once import at_once
from tests.factories import make_plan, make_tenant

IMAGES, GPU = Metric.IMAGES, Metric.GPU_MS
KEY = UUID("00000000-0000-7000-8000-000000000001")


def limited(**limits: int) -> Caller:
    """The owner of a tenant on a plan of its own."""
    tenant, owner = make_tenant("Limited", plan=make_plan(**limits))
    return caller_of_member(user_id=owner.pk, tenant_id=tenant.pk)


@pytest.fixture
def caller(db: None) -> Iterator[Caller]:
    """Ten images a day; in the tenant's scope."""
    found = limited(images_per_day=10)
    with in_tenant(found.tenant):
        yield found


def take(caller: Caller, amounts: dict[Metric, int], *, ref: UUID | None = None) -> tuple[UUID, date]:
    """Reserve for a piece of work."""
    ref = ref or uuid7()
    day = reserve(ref=ref, tenant=caller.tenant, user=caller.user, key=KEY, plan=caller.plan, amounts=amounts)
    return ref, day


def close(caller: Caller, ref: UUID, day: date, reserved: dict[Metric, int], actual: dict[Metric, int] | None) -> None:
    """Settle, or refund where nothing was used."""
    if actual is None:
        refund(ref=ref, tenant=caller.tenant, user=caller.user, key=KEY, charged_on=day, reserved=reserved)
    else:
        settle(
            ref=ref, tenant=caller.tenant, user=caller.user, key=KEY, charged_on=day, reserved=reserved, actual=actual
        )


def counted(scope: str = "tenant", metric: Metric = IMAGES) -> set[tuple[str, int, int]]:
    """(period, used, reserved) of one scope's counters."""
    return set(Counter.objects.filter(scope=scope, metric=metric).values_list("period", "used", "reserved"))


def test_reserve_raises_every_counter_and_writes_the_ledger(caller: Caller) -> None:
    ref, day = take(caller, {IMAGES: 2, GPU: 900})
    for scope in ("tenant", "member", "key"):
        assert counted(scope) == {("day", 0, 2), ("month", 0, 2)}
        assert counted(scope, GPU) == {("day", 0, 900), ("month", 0, 900)}
    months = Counter.objects.filter(period="month").values_list("starts_on", flat=True)
    assert set(months) == {day.replace(day=1)}
    entries = LedgerEntry.objects.order_by("metric").values_list(
        "event_id", "kind", "amount", "user", "key", "charged_on"
    )
    assert list(entries) == [
        (f"{ref}:reserve:gpu_ms", EntryKind.RESERVE, 900, caller.user, KEY, day),
        (f"{ref}:reserve:images", EntryKind.RESERVE, 2, caller.user, KEY, day),
    ]


def test_charged_day_is_the_databases_utc_day(caller: Caller) -> None:
    _, day = take(caller, {IMAGES: 1})
    with connection.cursor() as cursor:
        cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
        assert cursor.fetchone() == (day,)


def test_reserve_over_the_limit_changes_nothing(caller: Caller) -> None:
    take(caller, {IMAGES: 9})
    before = list(Counter.objects.order_by("id").values()), LedgerEntry.objects.count()
    with pytest.raises(QuotaExceeded) as refused:
        take(caller, {IMAGES: 2, GPU: 5})
    assert refused.value.limit == "images_per_day" and refused.value.quota == 10
    assert 0 < (refused.value.retry_after_s or 0) <= 86_400
    assert (list(Counter.objects.order_by("id").values()), LedgerEntry.objects.count()) == before
    take(caller, {IMAGES: 1})  # what is left can still be had


def test_refusal_leaves_the_callers_transaction_usable(caller: Caller) -> None:
    with transaction.atomic():
        with pytest.raises(QuotaExceeded):
            take(caller, {IMAGES: 11})
        take(caller, {IMAGES: 10})
    assert counted() == {("day", 0, 10), ("month", 0, 10)}


def test_charge_dies_with_the_callers_transaction(caller: Caller) -> None:
    with transaction.atomic():
        take(caller, {IMAGES: 1})
        transaction.set_rollback(True)
    assert not Counter.objects.exists() and not LedgerEntry.objects.exists()


def test_first_request_of_a_day_is_held_to_the_limit_too(caller: Caller) -> None:
    with pytest.raises(QuotaExceeded):
        take(caller, {IMAGES: 11})
    assert not Counter.objects.exists()


def test_month_is_a_limit_of_its_own(db: None) -> None:
    caller = limited(images_per_day=10, images_per_month=3)
    with in_tenant(caller.tenant):
        take(caller, {IMAGES: 3})
        with pytest.raises(QuotaExceeded) as refused:
            take(caller, {IMAGES: 1})
    assert refused.value.limit == "images_per_month"
    assert 0 < (refused.value.retry_after_s or 0) <= 31 * 86_400


def test_same_work_reserves_once(caller: Caller) -> None:
    ref, _ = take(caller, {IMAGES: 1})
    with pytest.raises(AlreadySettled):
        take(caller, {IMAGES: 1}, ref=ref)
    assert counted() == {("day", 0, 1), ("month", 0, 1)}


def test_settle_below_the_reserve_gives_the_rest_back(caller: Caller) -> None:
    reserved = {IMAGES: 4, GPU: 1000}
    ref, day = take(caller, reserved)
    close(caller, ref, day, reserved, {IMAGES: 3, GPU: 700})
    for scope in ("tenant", "member", "key"):
        assert counted(scope) == {("day", 3, 0), ("month", 3, 0)}
    amounts = LedgerEntry.objects.filter(kind=EntryKind.SETTLE).values_list("metric", "amount")
    assert dict(amounts) == {"images": -1, "gpu_ms": -300}


def test_settle_above_the_reserve_is_charged_and_refuses_the_next(db: None) -> None:
    caller = limited(gpu_ms_per_day=1000)
    with in_tenant(caller.tenant):
        ref, day = take(caller, {GPU: 900})
        close(caller, ref, day, {GPU: 900}, {GPU: 1500})
        assert counted(metric=GPU) == {("day", 1500, 0), ("month", 1500, 0)}
        with pytest.raises(QuotaExceeded):
            take(caller, {GPU: 1})
        left = {limit.limit: limit.left for limit in usage_left(caller)}
    assert left["gpu_ms_per_day"] == 0


@pytest.mark.parametrize("again", ["settle", "refund"])
@pytest.mark.parametrize("first", ["settle", "refund"])
def test_work_is_closed_once(first: str, again: str, caller: Caller) -> None:
    reserved = {IMAGES: 2}
    ref, day = take(caller, reserved)
    close(caller, ref, day, reserved, {IMAGES: 2} if first == "settle" else None)
    before = list(Counter.objects.order_by("id").values()), LedgerEntry.objects.count()
    with pytest.raises(AlreadySettled):
        close(caller, ref, day, reserved, {IMAGES: 2} if again == "settle" else None)
    assert (list(Counter.objects.order_by("id").values()), LedgerEntry.objects.count()) == before


def test_refund_gives_everything_back(caller: Caller) -> None:
    ref, day = take(caller, {IMAGES: 10})
    close(caller, ref, day, {IMAGES: 10}, None)
    assert counted() == {("day", 0, 0), ("month", 0, 0)}
    take(caller, {IMAGES: 10})


def test_negative_and_missing_amounts_are_refused(caller: Caller) -> None:
    for amounts in ({IMAGES: -1}, {}):
        with pytest.raises(ValueError, match="amount"):
            take(caller, amounts)
    assert not LedgerEntry.objects.exists()


def test_usage_left_names_every_limit_of_the_plan(caller: Caller) -> None:
    ref, day = take(caller, {IMAGES: 4})
    close(caller, ref, day, {IMAGES: 4}, {IMAGES: 1})
    take(caller, {IMAGES: 2})
    left = {limit.limit: limit for limit in usage_left(caller)}
    assert left.keys() == {"gpu_ms_per_day", "gpu_ms_per_month", "images_per_day", "images_per_month", "tokens_per_day"}
    day_limit, month_limit = left["images_per_day"], left["images_per_month"]
    assert (day_limit.quota, day_limit.used, day_limit.reserved, day_limit.left) == (10, 1, 2, 7)
    assert (month_limit.quota, month_limit.used, month_limit.left) == (None, 1, None)
    assert 0 < day_limit.resets_in_s <= 86_400


def test_rebuild_repairs_what_drifted(caller: Caller) -> None:
    reserved = {IMAGES: 2, GPU: 10}
    for number in range(3):
        ref, day = take(caller, reserved)
        if number:
            close(caller, ref, day, reserved, {IMAGES: 1, GPU: 30} if number == 1 else None)
    assert rebuild_counters(caller.tenant) == 0
    right = list(
        Counter.objects.order_by("scope", "metric", "period").values("scope", "metric", "period", "used", "reserved")
    )
    Counter.objects.filter(scope="tenant").update(used=99)
    Counter.objects.filter(scope="member").delete()
    assert rebuild_counters(caller.tenant) == 8
    assert right == list(
        Counter.objects.order_by("scope", "metric", "period").values("scope", "metric", "period", "used", "reserved")
    )


@pytest.fixture
def own_connections(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of its own for every thread, instead of three from the pool."""
    connections["default"].close()
    monkeypatch.delitem(connections["default"].settings_dict["OPTIONS"], "pool")


@pytest.mark.parametrize("attempt", range(3))
def test_parallel_reserves_never_overbook(attempt: int, own_connections: None) -> None:
    """100 requests from 16 threads against a limit of 10: exactly 10."""
    caller = limited(images_per_day=10)
    outcomes: list[str] = []  # appending is atomic
    waiting = list(range(100))
    start = threading.Barrier(16)

    def work() -> None:
        start.wait(timeout=30)
        try:
            with in_tenant(caller.tenant):
                while waiting:
                    try:
                        waiting.pop()
                    except IndexError:
                        return
                    try:
                        with transaction.atomic():
                            take(caller, {IMAGES: 1, GPU: 5})
                        outcomes.append("granted")
                    except QuotaExceeded:
                        outcomes.append("refused")
        except Exception as error:  # a thread's error would be lost otherwise
            outcomes.append(repr(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert Tally(outcomes) == {"granted": 10, "refused": 90}
    with in_tenant(caller.tenant):
        assert LedgerEntry.objects.filter(metric=IMAGES).count() == 10
        assert counted() == {("day", 0, 10), ("month", 0, 10)}
        assert rebuild_counters(caller.tenant) == 0


def test_parallel_settles_of_one_work_charge_once(own_connections: None) -> None:
    caller = limited(images_per_day=10)
    with in_tenant(caller.tenant):
        ref, day = take(caller, {IMAGES: 2})

    def work() -> None:
        with in_tenant(caller.tenant):
            close(caller, ref, day, {IMAGES: 2}, {IMAGES: 2})

    assert at_once([work] * 8) == {"done": 1, "already_settled": 7}
    with in_tenant(caller.tenant):
        assert counted() == {("day", 2, 0), ("month", 2, 0)}


STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "refund", "again"]), st.integers(0, 6), st.integers(0, 9)),
    max_size=25,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_counters_follow_any_sequence(db: None, steps: list[tuple[str, int, int]]) -> None:
    """Against a model of three sums in Python; the ledger's own sums agree at the end."""
    caller = limited(images_per_day=20)
    open_work: list[tuple[UUID, date, int]] = []
    closed: list[tuple[UUID, date, int]] = []
    used = 0
    with in_tenant(caller.tenant):
        for step, amount, pick in steps:
            if step == "reserve":
                fits = used + sum(work[2] for work in open_work) + amount <= 20
                try:
                    ref, day = take(caller, {IMAGES: amount})
                    assert fits
                    open_work.append((ref, day, amount))
                except QuotaExceeded:
                    assert not fits
            elif step == "again" and closed:
                ref, day, reserved = closed[pick % len(closed)]
                with pytest.raises(AlreadySettled):
                    close(caller, ref, day, {IMAGES: reserved}, {IMAGES: amount})
            elif step in ("settle", "refund") and open_work:
                ref, day, reserved = open_work.pop(pick % len(open_work))
                close(caller, ref, day, {IMAGES: reserved}, {IMAGES: amount} if step == "settle" else None)
                used += amount if step == "settle" else 0
                closed.append((ref, day, reserved))
        waiting = sum(work[2] for work in open_work)
        assert counted() in ({("day", used, waiting), ("month", used, waiting)}, set())
        assert rebuild_counters(caller.tenant) == 0
        assert sum(LedgerEntry.objects.values_list("amount", flat=True)) == used + waiting
