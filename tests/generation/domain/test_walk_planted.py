"""The walk finds what it is there to find: faults are planted into the ledger's and the queue's code."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from django.db import DatabaseError
from hypothesis.stateful import run_state_machine_as_test

from accounts.domain import credit, quotas
from accounts.errors import StudioError
from generation.domain import cancel, claim, finish, remove
from tests.database import TestDatabase
from tests.generation.domain.desk import Look
from tests.generation.domain.walk import make_walk, walk_settings

pytestmark = [pytest.mark.usefixtures("worker"), pytest.mark.timeout(600)]
Plant = Callable[[pytest.MonkeyPatch], None]


def without(module: ModuleType, name: str, words: str, instead: str = "") -> Plant:
    """A statement without some of its words."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        sql = getattr(module, name)
        assert words in sql, f"{name} has no {words!r}"
        patch.setattr(module, name, sql.replace(words, instead))

    plant.__name__ = f"{name} without {words!r}"
    return plant


def idle(module: ModuleType, name: str) -> Plant:
    """A function that does nothing."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(module, name, lambda *args, **kwargs: None)

    plant.__name__ = f"{name} does nothing"
    return plant


def cancelled_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """What ran before the cancel is given back too."""
    real = cancel.charge_ending
    patch.setattr(cancel, "charge_ending", lambda changed, ending: real(changed, "refund"))


def refunds_go_to_today(patch: pytest.MonkeyPatch) -> None:
    """Instead of the day of the reserve: only a year that passes shows it."""
    real = finish.settle

    def settle(**values: Any) -> None:
        today = finish.fetch_one("SELECT (now() AT TIME ZONE 'UTC')::date AS today")
        real(**{**values, "charged_on": (today or {})["today"]})

    patch.setattr(finish, "settle", settle)


def keys_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    real = quotas.counters_of
    patch.setattr(quotas, "counters_of", lambda **values: real(**{**values, "key": None}))


RUNS = 400
"""It ends with the first that finds it, as a rule within twenty; which rows a claim takes is chance, so leave room."""

FAULTS: list[Plant] = [
    without(finish, "_FINISH_SQL", "AND g.fence = %(fence)s", "AND %(fence)s IS NOT NULL"),
    without(finish, "_RELEASE_SQL", "AND g.fence = %(fence)s", "AND %(fence)s IS NOT NULL"),
    without(cancel, "_CANCEL_RUNNING_SQL", "AND g.fence = %(fence)s", "AND %(fence)s IS NOT NULL"),
    without(claim, "REQUEUE_SQL", "lost = g.lost + 1", "lost = g.lost"),
    without(
        quotas, "_RESERVE_SQL", "w.ceiling IS NULL OR c.used + c.reserved + excluded.reserved <= w.ceiling", "true"
    ),
    without(quotas, "_RESERVE_SQL", "c.used + c.reserved + excluded.reserved <= w.ceiling", "c.used <= w.ceiling"),
    idle(finish, "leave_run"),
    idle(remove, "move_stored"),
    idle(credit, "move_counters"),
    idle(quotas, "move_counters"),
    cancelled_for_nothing,
    refunds_go_to_today,
    keys_are_not_counted,
]


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_fault_is_found(plant: Plant, look: Look, test_database: TestDatabase) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        walk = make_walk(look, test_database.clean)
        try:
            run_state_machine_as_test(walk, settings=walk_settings(runs=RUNS, steps=60))
        except (AssertionError, StudioError, DatabaseError, ExceptionGroup):
            return  # a figure that is wrong, a refusal where there should be none, or the database's own rule held
    pytest.fail("it went unnoticed")
