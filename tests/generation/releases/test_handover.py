"""Waiting rows change their lane with the clocks that count them; what the other lane cannot draw stays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.domain.sql import fetch_all
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.place import PLACE_SQL, QueuePlace, read_place
from generation.domain.sweep import sweep
from generation.models import FairClock, Generation, Lane, Model, Pool, Release, Worker
from generation.releases.handover import count_left, hand_over_queue, say_rest
from tests.chaos.rig import make_entry, offer_sleeping_model
from tests.factories import Person, make_person, make_plan, make_tenant
from tests.generation.domain.desk import check_books, claim, submit

Look = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def _place(worker: None) -> None:
    offer_sleeping_model()


def add_worker(lane: str, **fields: Any) -> Worker:
    values = {"name": f"gpu-{lane}", "pid": 1, "pool": "demo", "serves": ["demo"], "state": "idle", "schemas": [1]}
    return Worker.objects.create(lane=lane, **values | fields)


def lanes_of(look: Look) -> dict[str, int]:
    return dict(look("SELECT lane, count(*)::int FROM generation_generation WHERE status = 'queued' GROUP BY 1"))


def green(**fields: Any) -> Any:
    return claim(lane="green", **fields)


def test_what_waits_goes_along_and_the_books_agree(alice: Person, mallory: Person, look: Look) -> None:
    add_worker("green")
    rows = [submit(person.caller, n=n) for person in (alice, mallory) for n in (1, 3)]
    running = claim(models={"demo": 1})
    assert running is not None
    assert hand_over_queue(source="blue", target="green") == 3
    assert lanes_of(look) == {"green": 3}
    assert count_left("blue").queued == 0
    assert count_left("blue").running == 1, "what is being drawn stays with whoever draws it"
    check_books(look)
    drawn: set[UUID] = set()
    while found := green():
        drawn |= {row.id for row in found.rows}
    assert drawn == set(rows) - {running.rows[0].id}
    check_books(look)
    assert claim() is None


def test_nothing_goes_where_nobody_draws_it(alice: Person, look: Look) -> None:
    submit(alice.caller)
    for fields in (
        {"state": "loading"},
        {"serves": ["another"]},
        {"schemas": [2]},
        {"pool": "elsewhere"},
        {"drain_requested_at": Now()},
    ):
        worker = add_worker("green", **fields)
        assert hand_over_queue(source="blue", target="green") == 0, fields
        worker.delete()
    silent = add_worker("green")
    Worker.objects.filter(pk=silent.pk).update(seen_at="2020-01-01T00:00:00Z")
    assert hand_over_queue(source="blue", target="green") == 0
    assert lanes_of(look) == {"blue": 1}
    add_worker("green", schemas=None)  # of a release that did not say so yet
    assert hand_over_queue(source="blue", target="green") == 1


def test_rows_of_another_version_stay(alice: Person, look: Look) -> None:
    add_worker("green", schemas=[1])
    first, second = submit(alice.caller), submit(alice.caller)
    Generation._base_manager.filter(pk=second).update(schema_version=99)
    assert hand_over_queue(source="blue", target="green") == 1
    assert look("SELECT id FROM generation_generation WHERE lane = 'green'") == [(first,)]
    assert say_rest("blue") == "1 of demo (version 99)"
    check_books(look)
    assert claim() is None, "a lane claims only what it knows"


def test_with_idle_only_what_is_drawn_here_stays(alice: Person, look: Look) -> None:
    entry = make_entry()
    Model.objects.create(slug="second", title="Second", pool="demo", spec=entry)
    add_worker("blue")
    add_worker("green", serves=["demo", "second"])
    submit(alice.caller)
    submit(alice.caller, model="second")
    assert hand_over_queue(source="blue", target="green", idle_only=True) == 1
    assert look("SELECT model_id FROM generation_generation WHERE lane = 'green'") == [("second",)]


def test_whoever_was_ahead_stays_ahead_by_as_much(alice: Person, mallory: Person, look: Look) -> None:
    """Alice has been drawn for, Mallory has not: in the new lane Mallory still goes first."""
    add_worker("green")
    for person in (alice, mallory):
        submit(person.caller)
    Pool.objects.update_or_create(lane="blue", name="demo", defaults={"vtime": 1000.0})
    Pool.objects.update_or_create(lane="green", name="demo", defaults={"vtime": 70.0})
    FairClock.objects.filter(tenant=alice.tenant.pk).update(vtime=1500.0)
    FairClock.objects.filter(tenant=mallory.tenant.pk).update(vtime=900.0)
    hand_over_queue(source="blue", target="green")
    clocks = {row.tenant: row.vtime for row in FairClock.objects.filter(lane="green")}
    assert clocks == {alice.tenant.pk: 570.0, mallory.tenant.pk: 70.0}
    first = green(models={"demo": 1})
    assert first.rows[0].tenant == mallory.tenant.pk


def test_a_tenant_that_waits_in_both_lanes_keeps_its_clock(alice: Person, look: Look) -> None:
    add_worker("green")
    submit(alice.caller)
    FairClock.objects.create(lane="green", pool="demo", tenant=alice.tenant.pk, vtime=33.0, queued=1, queued_ms=60)
    Pool.objects.update_or_create(lane="green", name="demo", defaults={"vtime": 500.0})
    hand_over_queue(source="blue", target="green")
    clock = FairClock.objects.get(lane="green")
    assert (clock.vtime, clock.queued) == (33.0, 2)
    clock.delete()  # its made-up row is nobody's


def test_an_idle_tenant_begins_now(alice: Person) -> None:
    add_worker("green")
    submit(alice.caller)
    FairClock.objects.create(lane="green", pool="demo", tenant=alice.tenant.pk, vtime=33.0)
    Pool.objects.update_or_create(lane="green", name="demo", defaults={"vtime": 500.0})
    hand_over_queue(source="blue", target="green")
    assert FairClock.objects.get(lane="green").vtime == 500.0


def test_the_weight_goes_along() -> None:
    add_worker("green")
    tenant, owner = make_tenant("Heavy", plan=make_plan(weight=4, queue_length=10, concurrent_generations=5))
    submit(make_person(tenant, owner).caller)
    hand_over_queue(source="blue", target="green")
    assert FairClock.objects.get(lane="green").weight == 4


def test_many_rows_go_in_several_transactions(alice: Person, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.releases.handover.AT_ONCE", 2)
    add_worker("green")
    for _ in range(5):
        submit(alice.caller)
    assert hand_over_queue(source="blue", target="green") == 5
    check_books(look)
    assert look("SELECT count(*)::int FROM accounts_auditevent WHERE action = 'queue.handed_over'") == [(3,)]


def test_a_cancel_beside_it_loses_nothing(alice: Person, look: Look) -> None:
    """A row that somebody holds is skipped; a cancel that has waited finds the row in its new lane."""
    add_worker("green")
    held, other = submit(alice.caller), submit(alice.caller)
    with in_tenant(alice.tenant.pk), transaction.atomic():
        Generation.objects.select_for_update().get(pk=held)
        done: list[int] = []

        def move() -> None:
            try:
                done.append(hand_over_queue(source="blue", target="green"))
            finally:
                connection.close()

        thread = threading.Thread(target=move)
        thread.start()
        thread.join(20)
        assert done == [1]
    assert look("SELECT id FROM generation_generation WHERE lane = 'green'") == [(other,)]
    with in_tenant(alice.tenant.pk):
        cancel_generation(held)
        cancel_generation(other)
    check_books(look)


@pytest.mark.timeout(120)
def test_submits_claims_and_moves_at_once_end_with_right_books(alice: Person, mallory: Person, look: Look) -> None:
    add_worker("green")
    add_worker("blue")
    errors: list[BaseException] = []
    taken: list[UUID] = []
    ids: list[UUID] = []
    lock = threading.Lock()

    def repeat(do: Callable[[], None], times: int) -> None:
        try:
            for _ in range(times):
                do()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    def send(person: Person) -> Callable[[], None]:
        def one() -> None:
            found = submit(person.caller, n=2)
            with lock:
                ids.append(found)

        return one

    def take(lane: str) -> Callable[[], None]:
        def one() -> None:
            found = claim(lane=lane, models={"demo": 2})
            with lock:
                taken.extend(row.id for row in (found.rows if found else ()))

        return one

    def move() -> None:
        hand_over_queue(source="blue", target="green")

    def move_back() -> None:
        hand_over_queue(source="green", target="blue")

    work = [
        (send(alice), 20),
        (send(mallory), 20),
        (take("blue"), 25),
        (take("green"), 25),
        (move, 15),
        (move_back, 15),
    ]
    threads = [threading.Thread(target=repeat, args=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(taken) == len(set(taken)), "nobody is claimed twice"
    check_books(look)
    total = look("SELECT count(*)::int FROM generation_generation WHERE status IN ('queued', 'running')")[0][0]
    assert total == len(ids) == 40


@pytest.fixture
def promoted() -> None:
    """Green serves, blue stands by."""
    Lane.objects.filter(name="blue").update(state="standby")
    Lane.objects.filter(name="green").update(state="serving")


def test_the_sweep_hands_over_what_is_stranded(promoted: None, alice: Person, look: Look) -> None:
    """A browser that is kept in blue asks there, after blue's workers have gone."""
    add_worker("green")
    blue = add_worker("blue")
    submit(alice.caller)
    assert sweep().handed_over == 0, "blue draws it itself"
    Worker.objects.filter(pk=blue.pk).update(drain_requested_at=Now())
    assert sweep().handed_over == 1
    assert lanes_of(look) == {"green": 1}
    check_books(look)


def test_the_sweep_takes_nothing_from_the_lane_that_serves(promoted: None, alice: Person, look: Look) -> None:
    add_worker("blue")
    submit(alice.caller)
    Generation._base_manager.update(lane="green")
    FairClock.objects.update(lane="green")
    assert sweep().handed_over == 0
    assert lanes_of(look) == {"green": 1}


def test_who_waits_where_nobody_draws_reads_of_the_lane_that_serves(promoted: None, alice: Person) -> None:
    """The sweep hands it over within seconds."""
    waiting = submit(alice.caller)
    Generation._base_manager.update(lane="blue")
    FairClock.objects.update(lane="blue")

    def place() -> QueuePlace:
        with in_tenant(alice.tenant.pk):
            return read_place(fetch_all(PLACE_SQL, ids=[waiting])[0])

    assert place().reason == "no_worker"
    add_worker("green")
    assert place().reason is None
    one = place().eta_ms
    add_worker("green")
    add_worker("blue")
    assert place().eta_ms == one, "its own lane's worker draws it, alone"
    Lane.objects.filter(name="green").update(state="standby")
    Worker.objects.filter(lane="blue").delete()
    assert place().reason == "no_worker", "nobody hands over to a lane that does not serve"


def test_during_a_hand_over_people_read_that_the_model_loads(alice: Person) -> None:
    waiting = submit(alice.caller)
    add_worker("green", state="loading")
    with in_tenant(alice.tenant.pk):
        (row,) = fetch_all(PLACE_SQL, ids=[waiting])
        assert read_place(row).reason == "no_worker", "green is only being tried"
        Lane.objects.filter(name="green").update(state="promoting")
        (row,) = fetch_all(PLACE_SQL, ids=[waiting])
        assert read_place(row).reason == "loading"


def test_during_a_hand_over_people_read_how_long_it_takes(alice: Person) -> None:
    """As long as the last loading; before green's worker is there, since the hand-over began."""
    waiting = submit(alice.caller)
    blue = add_worker("blue", load_ms=600_000)
    release = Release.objects.create(name="two", lane="green", mode="hand-over")

    def place() -> QueuePlace:
        with in_tenant(alice.tenant.pk):
            return read_place(fetch_all(PLACE_SQL, ids=[waiting])[0])

    drawn_in = place().eta_ms or 0
    Worker.objects.filter(pk=blue.pk).update(drain_requested_at=Now())
    assert (place().reason, place().eta_ms) == ("drained", None), "green is only being tried"
    Lane.objects.filter(name="green").update(state="promoting", release=release, changed_at=Now())
    assert place().reason == "loading"
    assert 500_000 < (place().eta_ms or 0) <= 600_000 + drawn_in
    add_worker("green", state="loading", started_at=timezone.now() - timedelta(minutes=9))
    assert (place().eta_ms or 0) > 500_000, "the hand-over began later than that one"
    Lane.objects.filter(name="green").update(changed_at=timezone.now() - timedelta(minutes=9))
    assert 0 < (place().eta_ms or 0) <= 60_000 + drawn_in
    # After a rollback of the pages blue loads again, for whoever waits in either lane.
    Worker.objects.filter(state="loading").delete()
    Release.objects.update(state="withdrawn")
    Lane.objects.filter(name="green").update(state="ready", changed_at=Now())
    assert place().reason == "loading"
    Lane.objects.filter(name="green").update(changed_at=timezone.now() - timedelta(minutes=16))
    assert place().reason == "drained", "by then nobody knows"
