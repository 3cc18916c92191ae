"""`python -m tests.proofs.walk`: ten thousand operations at random, and ledger, counters and rows agree all the way.

The walk (`tests/generation/domain/walk.py`) submits, claims, crashes, comes back with stale fences, cancels, fails,
retries, removes and lets years pass; a model in Python says what everything must add up to.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.proofs.record import write_record

RUNS = 100
STEPS = 110
OPERATIONS = 10_000
PROVES = (
    "generation/domain",
    "accounts/domain/quotas.py",
    "accounts/domain/counters.py",
    "accounts/domain/ledger.py",
    "accounts/domain/credit.py",
    "tests/generation/domain/walk.py",
    "tests/generation/domain/walkmodel.py",
    "tests/generation/domain/walkworkers.py",
)


def walk_long(*, superuser_url: str, runs: int = RUNS, steps: int = STEPS) -> dict[str, Any]:
    """Walk; raises AssertionError where the books are wrong. Returns how often each thing was done."""
    from hypothesis.stateful import run_state_machine_as_test

    from tests.database import TestDatabase
    from tests.generation.domain.walk import RULES, make_walk, walk_settings

    database = TestDatabase(superuser_url)
    with psycopg.connect(superuser_url, autocommit=True) as connection:

        def look(sql: str, *values: Any) -> list[tuple[Any, ...]]:
            return connection.execute(sql, values).fetchall()  # type: ignore[arg-type]

        walk = make_walk(look, database.clean)
        try:
            run_state_machine_as_test(walk, settings=walk_settings(runs=runs, steps=steps))
        finally:
            database.close()
    done = dict(sorted(walk.counts.items()))
    return {"walks": runs, "operations": sum(done.get(what, 0) for what in RULES), **done}


def is_good(counts: dict[str, Any]) -> bool:
    """Far enough, and nothing was left out."""
    from tests.generation.domain.walk import RULES

    endings = ("ended succeeded", "ended failed", "ended canceled", "ended by lost leases")
    return counts["operations"] >= OPERATIONS and all(counts.get(what, 0) > 0 for what in (*RULES, *endings))


def main() -> int:
    """On servers of its own; 1 when the books were wrong or the walk was too short."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-walk-"))
    with own_database(folder, process="worker") as services:
        counts = walk_long(superuser_url=services.superuser_url)
        good = is_good(counts)
    write_record("walk", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
