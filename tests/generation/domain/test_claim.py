"""Taking rows: who goes next, what shares a pass, and what a lease is worth."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from accounts.domain.sql import fetch_one
from accounts.models import Plan, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation, cancel_running
from generation.domain.claim import claim_pass, renew_claims
from generation.domain.claimsql import LOCK_SQL, NEXT_SQL, TAKE_SQL, TAKE_WITH_ABSENT_SQL
from generation.domain.finish import fail_row, finish_slice, release_row
from generation.domain.sweep import sweep
from generation.models import Model
from tests.chaos.rig import make_entry
from tests.crowd import fill
from tests.factories import Person, make_person, make_plan
from tests.generation.domain.desk import HARDWARE, Look, check_books, claim, draw, submit

pytestmark = pytest.mark.usefixtures("worker")


def plan_of(person: Person, **limits: Any) -> Person:
    """The person again, in a tenant with a plan of its own."""
    with across_tenants():
        Tenant.objects.filter(pk=person.tenant.pk).update(plan=make_plan(**limits))
    return make_person(person.tenant, person.user)


def expire(look: Look, *ids: UUID) -> None:
    look("UPDATE generation_generation SET lease_until = now() - interval '1 s' WHERE id = ANY(%s) RETURNING 1", [*ids])


def test_one_row_from_queue_to_picture(alice: Person, look: Look) -> None:
    id = submit(alice.caller, prompt="a blue star")
    taken = claim()
    assert taken is not None and [row.id for row in taken.rows] == [id]
    row = taken.rows[0]
    assert (row.prompt, row.seeds, row.model) == ("a blue star", ((0, 7),), "demo") and row.fence > 0
    held = look("SELECT status, fence, lease_until > now() FROM generation_generation")
    assert held == [("running", row.fence, True)]
    assert finish_slice(row=row, images=draw(row), run_ms=55) == "finished"
    assert look("SELECT status, done, cost_ms, lease_until FROM generation_generation") == [("succeeded", 1, 55, None)]
    assert look("SELECT index, seed FROM generation_image") == [(0, 7)]
    assert look("SELECT body ->> 'seed', length(signature) FROM generation_receipt") == [("7", 64)]
    assert look("SELECT ms, samples FROM generation_cost") == [(55.0, 1)]
    check_books(look)


def test_a_fifty_waiting_b_is_in_the_next_pass(alice: Person, mallory: Person, look: Look) -> None:
    for _ in range(50):
        submit(alice.caller)
    running = claim()
    assert running is not None and len(running.rows) == 8
    theirs = submit(mallory.caller, width=128)  # cannot share a pass with Alice's: it must get its own
    following = claim()
    assert following is not None and [row.id for row in following.rows] == [theirs]
    check_books(look)


def test_of_equal_clocks_the_shorter_queue_goes_first(alice: Person, mallory: Person) -> None:
    for _ in range(50):
        submit(alice.caller)
    theirs = submit(mallory.caller, width=128)
    taken = claim()
    assert taken is not None and [row.id for row in taken.rows] == [theirs]


def test_rows_of_two_tenants_share_a_pass(alice: Person, mallory: Person) -> None:
    for _ in range(10):
        submit(alice.caller)
    theirs = submit(mallory.caller)
    taken = claim()
    assert taken is not None and len(taken.rows) == 8
    assert theirs in {row.id for row in taken.rows}


def test_ten_images_are_several_turns(alice: Person, mallory: Person, look: Look) -> None:
    id = submit(alice.caller, n=10)
    first = claim()
    assert first is not None and [index for index, _ in first.rows[0].seeds] == list(range(8))
    submit(mallory.caller, width=128)
    assert finish_slice(row=first.rows[0], images=draw(first.rows[0]), run_ms=400) == "continues"
    assert look("SELECT status, done FROM generation_generation WHERE id = %s", id) == [("queued", 8)]
    check_books(look)
    between = claim()
    assert between is not None and between.rows[0].tenant == mallory.tenant.pk, "another tenant's turn comes between"
    last = claim()
    assert last is not None and last.rows[0].seeds == ((8, 15), (9, 16))
    assert finish_slice(row=last.rows[0], images=draw(last.rows[0]), run_ms=100) == "finished"
    assert look("SELECT status, done, cost_ms FROM generation_generation WHERE id = %s", id) == [("succeeded", 10, 500)]
    check_books(look)


def test_a_pass_holds_twenty_seconds(alice: Person, look: Look) -> None:
    submit(alice.caller)
    first = claim()
    assert first is not None
    finish_slice(row=first.rows[0], images=draw(first.rows[0]), run_ms=9_000)
    for _ in range(4):
        submit(alice.caller)
    second = claim()
    assert second is not None and len(second.rows) == 2
    assert claim(models={"demo": 1}) is not None


def test_batch_max_of_the_model(alice: Person) -> None:
    for _ in range(5):
        submit(alice.caller)
    taken = claim(models={"demo": 3})
    assert taken is not None and len(taken.rows) == 3


def test_the_plans_concurrency_holds_back(alice: Person, mallory: Person, look: Look) -> None:
    narrow = plan_of(alice, concurrent_generations=2)
    for _ in range(5):
        submit(narrow.caller)
    first = claim()
    assert first is not None and len(first.rows) == 2, "held back, not refused"
    assert claim() is None
    theirs = submit(mallory.caller)
    second = claim()
    assert second is not None and [row.id for row in second.rows] == [theirs]
    finish_slice(row=first.rows[0], images=draw(first.rows[0]), run_ms=60)
    third = claim()
    assert third is not None and len(third.rows) == 1
    check_books(look)


def test_a_held_back_tenant_saves_up_no_time(alice: Person, mallory: Person, look: Look) -> None:
    narrow = plan_of(alice, concurrent_generations=1)
    for _ in range(3):
        submit(narrow.caller, width=128)
    held = claim()
    assert held is not None and len(held.rows) == 1
    for _ in range(40):
        submit(mallory.caller)
    for _ in range(4):
        taken = claim()
        assert taken is not None and taken.rows[0].tenant == mallory.tenant.pk
        for row in taken.rows:
            finish_slice(row=row, images=draw(row), run_ms=row.claimed_ms)
    finish_slice(row=held.rows[0], images=draw(held.rows[0]), run_ms=held.rows[0].claimed_ms)
    clocks = dict(look("SELECT tenant, vtime FROM generation_fairclock"))
    longest = 20_000
    assert abs(clocks[alice.tenant.pk] - clocks[mallory.tenant.pk]) <= longest
    assert clocks[alice.tenant.pk] >= 3 * 8 * 60 - 1, "its clock went on while it was at its own limit"


def test_a_newcomer_does_not_get_back_what_it_never_asked_for(alice: Person, mallory: Person, look: Look) -> None:
    for _ in range(40):
        submit(alice.caller)
    for _ in range(3):
        taken = claim()
        assert taken is not None
        for row in taken.rows:
            finish_slice(row=row, images=draw(row), run_ms=row.claimed_ms)
    submit(mallory.caller)
    clocks = dict(look("SELECT tenant, vtime FROM generation_fairclock"))
    assert clocks[mallory.tenant.pk] == pytest.approx(2 * 8 * 60), "lifted to where the last pass began"


def test_the_first_one_back_after_a_quiet_night(alice: Person, mallory: Person, look: Look) -> None:
    """Nobody waits when B comes; it must not start at zero while A, who worked all day, stands at millions."""
    submit(alice.caller)
    look("UPDATE generation_fairclock SET vtime = 80000000 RETURNING 1")
    taken = claim()
    assert taken is not None
    finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=60)
    submit(mallory.caller)
    submit(alice.caller)
    clocks = dict(look("SELECT tenant, vtime FROM generation_fairclock"))
    assert abs(clocks[mallory.tenant.pk] - clocks[alice.tenant.pk]) <= 60


def test_priority_orders_a_tenants_own_rows_only(alice: Person, mallory: Person, look: Look) -> None:
    submit(alice.caller)
    urgent = submit(alice.caller)
    submit(mallory.caller)
    look("UPDATE generation_generation SET priority = 9 WHERE id = %s RETURNING 1", urgent)
    order = []
    for _ in range(3):
        taken = claim(models={"demo": 1})
        assert taken is not None
        order.append(taken.rows[0])
    own = [row.id for row in order if row.tenant == alice.tenant.pk]
    assert own[0] == urgent
    assert mallory.tenant.pk in {row.tenant for row in order[:2]}, "another tenant waits for nobody's priority"


def test_weights_are_shares(alice: Person, mallory: Person) -> None:
    heavy = plan_of(alice, weight=3, concurrent_generations=100)
    light = plan_of(mallory, weight=1, concurrent_generations=100)
    for _ in range(40):
        submit(heavy.caller)
        submit(light.caller, width=128)
    served = {alice.tenant.pk: 0, mallory.tenant.pk: 0}
    for _ in range(32):
        taken = claim(models={"demo": 1})
        assert taken is not None
        row = taken.rows[0]
        served[row.tenant] += row.claimed_ms
        finish_slice(row=row, images=draw(row), run_ms=row.claimed_ms)
    assert 2.2 <= served[alice.tenant.pk] / served[mallory.tenant.pk] <= 3.8


def test_a_paused_pool_gives_nothing(alice: Person, look: Look) -> None:
    submit(alice.caller)
    look("INSERT INTO generation_pool (lane, name, paused_at, paused_reason, vtime)"
         " VALUES ('blue', 'demo', now(), 'x', 0) RETURNING 1")  # fmt: skip
    assert claim() is None
    look("UPDATE generation_pool SET paused_at = NULL RETURNING 1")
    assert claim() is not None


def test_what_a_release_does_not_know_is_left(alice: Person, look: Look) -> None:
    strange, known = submit(alice.caller), submit(alice.caller)
    look("UPDATE generation_generation SET schema_version = 99 WHERE id = %s RETURNING 1", strange)
    taken = claim()
    assert taken is not None and [row.id for row in taken.rows] == [known]
    assert claim() is None


def test_other_models_other_lanes_suspended_tenants(alice: Person) -> None:
    submit(alice.caller)
    assert claim(models={"other": 8}) is None
    assert claim(lane="green") is None
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(suspended_at="2026-01-01T00:00:00Z")
    assert claim() is None


def test_a_lost_lease_is_taken_over(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    first = claim()
    assert first is not None
    expire(look, id)
    second = claim()
    assert second is not None and second.rows[0].id == id
    zombie = first.rows[0]
    assert second.rows[0].fence > zombie.fence + 1 and (second.rows[0].lost, second.rows[0].attempt) == (1, 0)
    assert finish_slice(row=zombie, images=draw(zombie), run_ms=60) == "lost"
    assert fail_row(row=zombie, code="x", message="x", retry=True) == "lost"
    assert release_row(row=zombie) is False
    assert cancel_running(row=zombie, run_ms=60) is False
    assert look("SELECT count(*) FROM generation_image") == [(0,)]
    renewal = renew_claims({id: zombie.fence}, steps={id: 2}, lease_s=30)
    assert renewal.lost == {id} and not renewal.cancelled
    assert finish_slice(row=second.rows[0], images=draw(second.rows[0]), run_ms=60) == "finished"
    assert finish_slice(row=second.rows[0], images=draw(second.rows[0]), run_ms=60) == "lost"
    check_books(look)


def test_a_claim_that_a_crash_undid(alice: Person, look: Look) -> None:
    """PostgreSQL forgets the claim, its worker draws on: the next owner's fence is another one."""
    id = submit(alice.caller)
    first = claim()
    assert first is not None
    look("UPDATE generation_generation SET status = 'queued', fence = 0, lease_until = NULL RETURNING 1")
    look("UPDATE generation_fairclock SET queued = 1, queued_ms = 60, running = 0, running_ms = 0 RETURNING 1")
    second = claim()
    assert second is not None and second.rows[0].id == id
    assert finish_slice(row=first.rows[0], images=draw(first.rows[0]), run_ms=60) == "lost"
    assert draw(first.rows[0])[0].file != draw(second.rows[0])[0].file
    assert finish_slice(row=second.rows[0], images=draw(second.rows[0]), run_ms=60) == "finished"
    check_books(look)


def test_after_two_lost_leases_alone_after_five_failed(alice: Person, look: Look) -> None:
    poison = submit(alice.caller)
    for lost in range(1, 5):
        taken = claim()
        assert taken is not None and poison in {row.id for row in taken.rows}
        if lost == 3:
            assert [row.id for row in taken.rows] == [poison], "it runs alone now"
        for row in taken.rows:
            if row.id != poison:
                finish_slice(row=row, images=draw(row), run_ms=60)
        expire(look, poison)
        submit(alice.caller)
        assert sweep(lane="blue").requeued == 1
        assert look("SELECT lost FROM generation_generation WHERE id = %s", poison) == [(lost,)]
    taken = claim()
    assert taken is not None and [row.id for row in taken.rows] == [poison]
    expire(look, poison)
    assert sweep().failed == 1
    assert look("SELECT status, error_code, attempt FROM generation_generation WHERE id = %s", poison) == [
        ("failed", "lost", 0)
    ]
    check_books(look)
    assert sweep().failed == 0


def test_a_cancel_whose_worker_was_lost(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    taken = claim()
    assert taken is not None
    with in_tenant(alice.tenant.pk):
        assert cancel_generation(id) == "running"
    assert renew_claims({id: taken.rows[0].fence}, steps={id: 2}, lease_s=30).cancelled == {id}
    expire(look, id)
    assert claim() is None, "nobody draws what is to be cancelled"
    assert sweep().canceled == 1
    assert look("SELECT status FROM generation_generation") == [("canceled",)]
    check_books(look)


def test_own_failures_three_times(alice: Person, look: Look) -> None:
    submit(alice.caller)
    for wanted in ("retried", "retried", "failed"):
        taken = claim()
        assert taken is not None
        assert fail_row(row=taken.rows[0], code="bad", message="no\x00t a picture", retry=True) == wanted
        check_books(look)
    assert look("SELECT status, attempt, error_message FROM generation_generation") == [("failed", 3, "not a picture")]
    submit(alice.caller)
    taken = claim()
    assert taken is not None
    assert fail_row(row=taken.rows[0], code="refused", message="no", retry=False) == "failed"
    check_books(look)


def test_giving_back_counts_as_nothing(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    for _ in range(6):
        taken = claim()
        assert taken is not None
        assert release_row(row=taken.rows[0])
    assert look("SELECT status, attempt, lost FROM generation_generation WHERE id = %s", id) == [("queued", 0, 0)]
    assert look("SELECT vtime FROM generation_fairclock") == [(0.0,)]
    check_books(look)


def test_a_cancelled_run_settles_what_ran(alice: Person, look: Look) -> None:
    id = submit(alice.caller, n=10)
    first = claim()
    assert first is not None
    finish_slice(row=first.rows[0], images=draw(first.rows[0]), run_ms=480)
    second = claim()
    assert second is not None
    with in_tenant(alice.tenant.pk):
        assert cancel_generation(id) == "running"
    assert cancel_running(row=second.rows[0], run_ms=33)
    assert look("SELECT status, done, cost_ms FROM generation_generation") == [("canceled", 8, 513)]
    check_books(look)


def test_finishing_the_last_image_beats_a_late_cancel(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    taken = claim()
    assert taken is not None
    with in_tenant(alice.tenant.pk):
        cancel_generation(id)
    assert finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=60) == "finished"
    assert look("SELECT status FROM generation_generation") == [("succeeded",)]
    check_books(look)


def test_claims_at_once_never_share_a_row(alice: Person, mallory: Person, look: Look) -> None:
    plan_of(alice, concurrent_generations=1000)
    plan_of(mallory, concurrent_generations=1000)
    ids = {submit(person.caller) for person in (alice, mallory) for _ in range(60)}
    taken: list[UUID] = []
    errors: list[Exception] = []

    def work() -> None:
        from django.db import connection

        try:
            while (found := claim()) is not None:
                taken.extend(row.id for row in found.rows)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not errors
    assert len(taken) == len(ids) and set(taken) == ids
    check_books(look)


def test_nothing_to_claim(look: Look) -> None:
    assert claim() is None
    assert claim(models={}) is None
    assert Plan.objects.count() >= 1
    assert look("SELECT count(*) FROM generation_pool") == [(0,)]
    assert claim_pass(lane="blue", pool="x", models={"demo": 1}, worker=UUID(int=1), hardware="") is None


def test_a_worker_may_want_fewer_images_of_this_size(alice: Person, look: Look) -> None:
    """What it measured for the head's shape bounds the pass; its own most stays the bound above."""
    for seed in range(4):
        submit(alice.key_caller, width=128, height=64, seed=seed)
    asked: list[tuple[Any, ...]] = []

    def two(*shape: Any) -> int:
        asked.append(shape)
        return 2

    first = claim(most=two)
    assert first is not None and sum(len(row.seeds) for row in first.rows) == 2
    assert asked == [("demo", "text-to-image", 128, 64, False)]
    second = claim(most=lambda *shape: 100, models={"demo": 1})
    assert second is not None and len(second.rows) == 1
    look("UPDATE generation_generation SET task = 'inpaint' WHERE status = 'queued' RETURNING 1")
    assert claim(most=two) is not None
    assert asked[1:] == [("demo", "inpaint", 128, 64, False)]


def test_no_plan_reads_or_sorts_the_queue(look: Look, alice: Person, admin_sql: Any) -> None:
    """With many rows waiting, whatever is read of the queue is read by an index, and what is sorted is a pass."""
    fill(admin_sql, rows=20_000, tenants=200)
    waiting = look("SELECT id FROM generation_generation WHERE status = 'queued' LIMIT 8")
    place = {"lane": "blue", "pool": "demo"}
    shared = {"schemas": [1, 2], "hardware": HARDWARE, "models": ["demo"], **place}
    following = {"pass_ms": 20_000.0, "searched": 64, "alone": 2, "seats": 8}
    taking = {"ids": [row[0] for row in waiting], "claimed": [60] * 8, "start": 500.0, "worker": uuid4(), "lease_s": 30,
              "schemas": [1, 2], "absent": ["other"], "patience_ms": 60_000.0, **place}  # fmt: skip
    for sql, values in (
        (NEXT_SQL, shared | following),
        (TAKE_SQL, taking),
        (TAKE_WITH_ABSENT_SQL, taking),
        (LOCK_SQL, {"name": "x", **place}),
    ):
        with transaction.atomic():
            plan = fetch_one(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", **values)
            transaction.set_rollback(True)
        assert plan is not None
        found = plan["QUERY PLAN"]
        for node in walk(json.loads(found) if isinstance(found, str) else found):
            is_scan = node["Node Type"] == "Seq Scan"
            assert not (is_scan and node["Relation Name"] == "generation_generation"), node
            assert "Sort" not in node["Node Type"] or node["Actual Rows"] <= 64, node


def walk(plan: Any) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    if isinstance(plan, list):
        for part in plan:
            yield from walk(part)
    elif isinstance(plan, dict):
        if "Node Type" in plan:
            yield plan
        for part in plan.values():
            yield from walk(part)


def test_who_waits_for_an_absent_model_keeps_the_turn(alice: Person, mallory: Person, look: Look) -> None:
    """What the loaded models get meanwhile is not his loss, but no more than the patience is kept for him."""
    Model.objects.create(slug="other", title="Other", pool="demo", spec=make_entry())
    submit(mallory.caller, model="other")
    for _ in range(3):
        submit(alice.caller)

    def clocks() -> dict[UUID, float]:
        return dict(look("SELECT tenant, vtime FROM generation_fairclock"))

    for _ in range(3):
        assert claim(models={"demo": 1}, absent=["other"], patience_ms=100) is not None
    assert clocks() == {alice.tenant.pk: 180, mallory.tenant.pk: 20}  # the last pass began at 120
    submit(alice.caller)
    assert claim(models={"demo": 1}) is not None, "a worker that would never load it"
    assert clocks() == {alice.tenant.pk: 240, mallory.tenant.pk: 180}
