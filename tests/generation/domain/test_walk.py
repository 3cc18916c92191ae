"""A random walk through everything that can happen to generations: the books are right after every step."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from accounts.errors import StudioError
from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation, cancel_running
from generation.domain.claim import ClaimedRow
from generation.domain.clocks import repair_clocks
from generation.domain.finish import add_warning, fail_row, finish_slice, release_row
from generation.domain.remove import remove_generation
from generation.domain.sweep import sweep
from tests.factories import Person, make_person, make_plan
from tests.generation.domain.desk import Look, check_books, claim, draw, submit

pytestmark = [pytest.mark.usefixtures("worker"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("seed", [1, 2])
def test_books_stay_right(seed: int, alice: Person, mallory: Person, look: Look) -> None:
    rng = random.Random(seed)
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(weight=2, concurrent_generations=5))
    callers = [make_person(alice.tenant, alice.user).key_caller, mallory.key_caller]
    held: list[ClaimedRow] = []
    zombies: list[ClaimedRow] = []
    ids: list[tuple[UUID, UUID]] = []

    def act(what: str) -> None:
        if what == "submit":
            caller = rng.choice(callers)
            fields = {"n": rng.choice((1, 1, 3, 10)), "width": rng.choice((64, 128))}
            ids.append((caller.tenant, submit(caller, **fields)))
        elif what == "claim":
            taken = claim(models={"demo": rng.choice((1, 8))})
            held.extend(taken.rows if taken else ())
        elif what == "cancel" and ids:
            tenant, id = rng.choice(ids)
            with in_tenant(tenant):
                try:
                    cancel_generation(id)
                except StudioError:
                    return
        elif what == "crash" and held:
            row = held.pop(rng.randrange(len(held)))
            zombies.append(row)
            look("UPDATE generation_generation SET lease_until = now() - interval '1 s' "
                 "WHERE id = %s AND fence = %s RETURNING 1", row.id, row.fence)  # fmt: skip
        elif what == "sweep":
            report = sweep()
            assert not report.errors and not report.repaired
        elif what == "zombie" and zombies:
            row = rng.choice(zombies)
            before = look("SELECT status, fence, done FROM generation_generation WHERE id = %s", row.id)
            outcome = finish_slice(row=row, images=draw(row), run_ms=60)
            if before and before[0][1] != row.fence:
                assert outcome == "lost"
                assert look("SELECT status, fence, done FROM generation_generation WHERE id = %s", row.id) == before
        elif what == "remove" and ids:
            tenant, id = rng.choice(ids)
            with in_tenant(tenant):
                try:
                    remove_generation(id)
                except StudioError:
                    return
                ids.remove((tenant, id))
        elif held:
            end(what, held.pop(rng.randrange(len(held))))

    def end(what: str, row: ClaimedRow) -> None:
        if what == "finish":
            add_warning(row=row, code="prompt_cut", detail="the model read the first 512 of 600 tokens")
            finish_slice(row=row, images=draw(row), run_ms=rng.uniform(1, 400))
        elif what == "fail":
            fail_row(row=row, code="bad", message="bad", retry=rng.random() < 0.8)
        elif what == "release":
            release_row(row=row)
        elif what == "drop":
            cancel_running(row=row, run_ms=rng.uniform(1, 100))

    steps = ["submit"] * 5 + ["claim"] * 5 + ["finish"] * 5
    steps += ["cancel", "cancel", "crash", "sweep", "zombie", "fail", "release", "drop", "remove"]
    for number in range(150):
        act(rng.choice(steps))
        if number % 10 == 9:
            check_books(look)
    # Then everything comes to its end.
    for row in held:
        finish_slice(row=row, images=draw(row), run_ms=60)
    while look("SELECT 1 FROM generation_generation WHERE status IN ('queued', 'running') LIMIT 1"):
        sweep()
        taken = claim()
        for row in taken.rows if taken else ():
            finish_slice(row=row, images=draw(row), run_ms=60)
    check_books(look)
    sums = look("SELECT sum(queued), sum(queued_ms), sum(running), sum(running_ms) FROM generation_fairclock")
    assert sums == [(0, 0, 0, 0)]
    assert look("SELECT coalesce(sum(reserved), 0) FROM accounts_counter") == [(0,)]


def test_repair_mends_and_finds_nothing_else(alice: Person, look: Look) -> None:
    from django.db import transaction

    for _ in range(3):
        submit(alice.caller)
    assert claim(models={"demo": 1}) is not None
    look("UPDATE generation_fairclock SET queued = 40, queued_ms = -1, running = 7, running_ms = 3 RETURNING 1")
    with transaction.atomic():
        assert repair_clocks(lane="blue", pool="demo") == [alice.tenant.pk]
    check_books(look)
    with transaction.atomic():
        assert repair_clocks(lane="blue", pool="demo") == []
