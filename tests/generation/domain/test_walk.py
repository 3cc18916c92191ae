"""The walk of `walk.py`, some hundred steps of it; `make proof NAMES=walk` goes ten thousand."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from generation.domain.clocks import repair_clocks
from tests.database import TestDatabase
from tests.factories import Person
from tests.generation.domain.desk import Look, check_books, claim, submit
from tests.generation.domain.walk import RULES, make_walk, walk_settings

pytestmark = [pytest.mark.usefixtures("worker"), pytest.mark.timeout(600)]


def test_books_stay_right(look: Look, test_database: TestDatabase) -> None:
    walk = make_walk(look, test_database.clean)
    run_state_machine_as_test(walk, settings=walk_settings(runs=10, steps=60))
    done = walk.counts
    assert sum(done[what] for what in RULES) >= 600
    assert min(done[what] for what in ("submit", "claim", "crash", "sweep", "cancel", "zombie", "fail")) > 0, done


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
