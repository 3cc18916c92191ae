"""`python -m tests.proofs.turns [minutes]`: 20 tenants of three weights at the demo models, for half an hour.

A real worker draws; everybody always has work: two models, sizes, steps, numbers, strengths and prompts mixed. Twice a
second the clocks of those who wait are compared. At the end the GPU time of each tenant is held against its weight's
share, and what people were told when they asked is compared with what became of it.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.chaos.rig import Rig
from tests.proofs.record import write_record
from tests.proofs.studio import own_database

if TYPE_CHECKING:
    from accounts.domain.callers import Caller

TENANTS, WEIGHTS = 20, (1, 2, 4)
MINUTES = 30.0
ALWAYS_QUEUED = 4  # requests of each tenant
LOOK_S = 0.5
WARM_UP_S = 60.0  # until the costs are measured
SHARE_OFF = 0.10
PROVES = (
    "generation/domain/claim.py",
    "generation/domain/claimsql.py",
    "generation/domain/clocks.py",
    "generation/domain/fairness.py",
    "generation/domain/finish.py",
    "generation/domain/place.py",
    "generation/worker",
)
CLOCKS_SQL = "SELECT tenant, vtime, weight, queued FROM generation_fairclock WHERE lane = 'blue' AND pool = 'demo'"
USED_SQL = """
SELECT tenant_id, sum(CASE WHEN status = 'succeeded' THEN cost_ms ELSE 0 END)::float8
  FROM generation_generation GROUP BY tenant_id
"""
ENDED_SQL = """
SELECT id, extract(epoch FROM finished_at - created_at)::float8 * 1000 FROM generation_generation
 WHERE status = 'succeeded'
"""


@dataclass
class Crowd:
    """Twenty tenants who always want more."""

    rng: random.Random
    people: list[tuple[Caller, int]] = field(default_factory=list)
    told: dict[UUID, Any] = field(default_factory=dict)

    def open(self) -> None:
        """Tenants of three weights."""
        from accounts.domain.callers import caller_of_member
        from tests.factories import make_plan, make_tenant

        limits = {"queue_length": 1000, "concurrent_generations": 100, "max_images": 10, "max_pixels": 2**20}
        plans = [make_plan(weight=weight, **limits) for weight in WEIGHTS]
        for number in range(TENANTS):
            tenant, owner = make_tenant(f"Share {number}", plan=plans[number % len(plans)])
            caller = caller_of_member(user_id=owner.pk, tenant_id=tenant.pk)
            self.people.append((caller, WEIGHTS[number % len(WEIGHTS)]))

    def ask(self, caller: Caller) -> None:
        """One request of the mixed load, and what its sender is told."""
        from accounts.domain.sql import fetch_all
        from accounts.tenancy import in_tenant
        from generation.domain.place import PLACE_SQL, read_place
        from generation.domain.request import LoraChoice
        from tests.generation.domain.desk import submit

        rng = self.rng
        colour, shape = rng.choice(("red", "blue", "green")), rng.choice(("circle", "square", "star"))
        fields: dict[str, Any] = {"seed": rng.randrange(1_000_000), "n": rng.choice((1, 1, 2, 4))}
        if rng.random() < 0.5:
            side = rng.choice((128, 256))
            fields |= {"prompt": f"a {colour} {shape}", "num_inference_steps": rng.choice((2, 4))}
        else:
            side, scale = 128, rng.choice((0.0, 0.5, 1.0))
            fields |= {"model": "demo-portrait", "prompt": f"a portrait with {colour} hair", "num_inference_steps": 4}
            fields |= {"loras": (LoraChoice(name="evening-light", scale=scale),)} if scale else {}
        id = submit(caller, width=side, height=side, **fields)
        with in_tenant(caller.tenant):
            self.told[id] = read_place(fetch_all(PLACE_SQL, ids=[id])[0])

    def top_up(self, waiting: dict[UUID, int]) -> None:
        """Everybody has work again."""
        for caller, _ in self.people:
            for _ in range(ALWAYS_QUEUED - waiting.get(caller.tenant, 0)):
                self.ask(caller)


@dataclass
class Clocks:
    """The worst that was seen of them."""

    looks: int = 0
    apart_ms: float = 0.0

    def look(self, rows: list[tuple[Any, ...]]) -> None:
        """Compare those that wait: how far each is before the lowest one, in its own GPU milliseconds."""
        waiting = [(vtime, weight) for _, vtime, weight, queued in rows if queued > 0]
        low = min(vtime for vtime, _ in waiting) if waiting else 0.0
        self.apart_ms = max([self.apart_ms, *((vtime - low) * weight for vtime, weight in waiting)])
        self.looks += 1


def measure(rig: Rig, *, minutes: float = MINUTES) -> dict[str, Any]:
    """Ask, look, add up."""
    from django.core.management import call_command

    from generation.domain.fairness import PASS_MS

    call_command("loadmodels")
    crowd, clocks = Crowd(random.Random(5)), Clocks()
    crowd.open()
    rig.start_worker(engine="")
    rig.wait_for_worker()
    for _ in every_look(rig, crowd, None, seconds=WARM_UP_S):
        pass
    before, began = used_ms(rig), time.monotonic()
    for minute in every_look(rig, crowd, clocks, seconds=minutes * 60):
        print(f"{minute} of {minutes:g} minutes, {len(crowd.told)} asked", flush=True)
    seconds = time.monotonic() - began
    after = used_ms(rig)
    used = {caller.tenant: after[caller.tenant] - before[caller.tenant] for caller, _ in crowd.people}
    total, weights = sum(used.values()), sum(weight for _, weight in crowd.people)
    off = {caller.tenant: used[caller.tenant] / (total * weight / weights) - 1 for caller, weight in crowd.people}
    return {
        "minutes": round(seconds / 60, 1),
        "finished": rig.count("succeeded"),
        "failed": rig.count("failed"),
        "gpu_s": round(total / 1000, 1),
        "gpu_s_by_weight": {
            str(weight): round(sum(used[caller.tenant] for caller, own in crowd.people if own == weight) / 1000, 1)
            for weight in WEIGHTS
        },
        "worst_share_off": round(max(map(abs, off.values())), 4),
        "looks": clocks.looks,
        "clocks_apart_ms": round(clocks.apart_ms),
        "bound_ms": PASS_MS,
        **predictions(rig, crowd),
    }


def every_look(rig: Rig, crowd: Crowd, clocks: Clocks | None, *, seconds: float) -> Iterator[int]:
    """Top up and compare until the time is over; yields after each minute."""
    began, minutes = time.monotonic(), 0
    while (gone := time.monotonic() - began) < seconds:
        rows = rig.ask(CLOCKS_SQL)
        if clocks is not None:
            clocks.look(rows)
        crowd.top_up({row[0]: row[3] for row in rows})  # type: ignore[misc]
        if gone >= (minutes + 1) * 60:
            minutes += 1
            yield minutes
        time.sleep(LOOK_S)


def used_ms(rig: Rig) -> dict[UUID, float]:
    """GPU milliseconds of each tenant's finished generations."""
    found: dict[UUID, float] = defaultdict(float)
    found.update(rig.ask(USED_SQL))  # type: ignore[arg-type]
    return found


def predictions(rig: Rig, crowd: Crowd) -> dict[str, Any]:
    """The median of |told − actual| ÷ actual, and how many ended within their range."""
    off, within = [], []
    for id, actual in rig.ask(ENDED_SQL):
        place, took = crowd.told[id], float(str(actual))  # type: ignore[index]
        if place.eta_ms is None:
            continue
        off.append(abs(place.eta_ms - took) / max(1.0, took))
        low, high = place.eta_range_ms or (place.eta_ms, place.eta_ms)
        within.append(low <= took <= high)
    if not off:
        return {"told": 0}
    return {
        "told": len(off),
        "median_error": round(statistics.median(off), 3),
        "within_range": round(sum(within) / len(within), 3),
    }


def is_good(found: dict[str, Any]) -> bool:
    """Nobody failed, ran away or got less than its weight."""
    return bool(
        found["failed"] == 0 and found["worst_share_off"] <= SHARE_OFF and found["clocks_apart_ms"] <= found["bound_ms"]
    )


def main() -> int:
    """On servers of its own; 1 when a figure is worse than promised."""
    began = time.monotonic()
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-turns-"))
    with own_database(folder, process="worker") as services:
        rig = Rig(services, folder / "rig")
        try:
            found = measure(rig, minutes=minutes)
        finally:
            rig.close()
    good = is_good(found)
    print(found)
    if minutes < MINUTES:
        print("No record: it takes the whole half hour.")
        return 0 if good else 1
    write_record("turns", proves=PROVES, counts={"passed": good, **found}, seconds=time.monotonic() - began)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
