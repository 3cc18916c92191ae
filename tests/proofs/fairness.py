"""`python -m tests.proofs.fairness`: 10,000 mixed requests of 20 tenants through the real queue, on a simulated GPU.

Weights 1, 2 and 4; models, sizes, numbers and LoRAs mixed; sleepers, cancels, failures, rows given back. Four studios:
one worker, two, one whose memory holds one model at a time, one whose passes hold one picture. In each the clocks of
those who wait must stay within one longest pass ÷ weight (and, where models take turns, their patience). What people
were told is compared with what became of it. Then everybody asks without end for 30 simulated minutes.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.proofs.record import write_record

REQUESTS = 2_500  # in each of the four
TENANTS = 20
MINUTES = 30.0
STUDIOS = {
    "one worker": {"hands_wanted": 1},
    "two workers": {"hands_wanted": 2},
    "models take turns": {"room": 1},
    "passes of one": {"batch_max": 1},
}
PROVES = (
    "generation/domain/claim.py",
    "generation/domain/claimsql.py",
    "generation/domain/clocks.py",
    "generation/domain/fairness.py",
    "generation/domain/finish.py",
    "generation/domain/place.py",
    "generation/worker/resident.py",
    "tests/generation/domain/shares.py",
)


def simulate(*, superuser_url: str, requests: int = REQUESTS, minutes: float = MINUTES) -> dict[str, Any]:
    """All studios, each on an empty database; raw figures."""
    from tests.database import TestDatabase
    from tests.generation.domain.desk import check_books
    from tests.generation.domain.shares import Shares, run_mixed, run_saturated

    database = TestDatabase(superuser_url)
    found: dict[str, Any] = {}
    with psycopg.connect(superuser_url, autocommit=True) as connection:

        def look(sql: str, *values: Any) -> list[tuple[Any, ...]]:
            return connection.execute(sql, values).fetchall()  # type: ignore[arg-type]

        try:
            for number, (name, kind) in enumerate(STUDIOS.items()):
                database.clean()
                shares = Shares(look, random.Random(number), **kind)
                shares.open(tenants=TENANTS)
                run_mixed(shares, requests=requests, load=0.6)
                check_books(look)
                found[name] = {**shares.counts, "spread": round(shares.spread, 3), **shares.predictions()}
            database.clean()
            shares = Shares(look, random.Random(9), accidents=False)
            shares.open(tenants=TENANTS)
            off = run_saturated(shares, minutes=minutes)
            found["everybody asks"] = {**shares.counts, "minutes": minutes, "worst_share_off": round(off, 4)}
        finally:
            database.close()
    return found


def is_good(found: dict[str, Any]) -> bool:
    """Nobody ran away or fell behind, shares are as weights, ranges hold."""
    studios = [found[name] for name in STUDIOS]
    return (
        all(one["spread"] <= 1 + 1e-9 and one["within_range"] >= 0.8 for one in studios)
        and found["everybody asks"]["worst_share_off"] <= 0.1
        and found["models take turns"]["loads"] > 0
    )


def main() -> int:
    """On servers of its own; 1 when a figure is worse than promised."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-fairness-"))
    with own_database(folder, process="worker") as services:
        found = simulate(superuser_url=services.superuser_url)
    good = is_good(found)
    write_record("fairness", proves=PROVES, counts={"passed": good, **found}, seconds=time.monotonic() - began)
    print(found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
