"""Taking rows for one pass, under a lease with a fence; and renewing it.

One transaction under the pool's advisory lock: requeue what lost its lease, find the tenant whose clock is lowest, fill
the pass with rows that can share it, take them. It is committed without waiting for the disk (`synchronous_commit`): a
crash of PostgreSQL may undo it while its worker draws on. So a fence is raised by a random leap: the next owner of the
row gets another one, and neither finish nor file name of the first can be taken for the second's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.sql import fetch_all, fetch_one, fetch_prepared
from generation.domain.claimsql import (
    HEAD_SQL,
    LOCK_SQL,
    NEXT_SQL,
    RENEW_SQL,
    REQUEUE_SQL,
    TAKE_SQL,
    TAKE_WITH_ABSENT_SQL,
)
from generation.domain.clocks import pool_lock_name
from generation.domain.fairness import PASS_IMAGES, PASS_MS, SEARCHED, Waiting, count_seats, fill_pass
from generation.engine.tasksteps import steps_run
from generation.meters import LEASES_LOST, WAITED

KNOWN_SCHEMAS = (1, 2, 3)  # versions of `params` that this release can draw; rows of others are left to their lane
MAX_LOST = 5  # leases: then the row fails
ALONE_AFTER = 2  # lost leases: from then on the row runs alone
MostImages = Callable[[str, str, int, int, bool], int]  # of a shape: model, task, width, height, guided
_TRIES = 3  # a head that somebody cancels at this very moment is skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRow:
    """One row for this pass. `seeds` are (index, seed) of the images to draw in it; `done` are stored already.

    `fence` is the right to write: whoever finishes, fails, releases or renews names it.
    """

    id: UUID
    tenant: UUID
    user: UUID | None
    key: UUID | None
    fence: int
    attempt: int
    lost: int
    model: str
    task: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    params: dict[str, Any]
    seeds: tuple[tuple[int, int], ...]
    n: int
    done: int
    charged_on: date
    estimate_ms: int
    claimed_ms: int
    hardware: str
    created_at: datetime
    waited_s: float | None = None
    """From its submit to this claim, where it is the row's first."""

    @property
    def guided(self) -> bool:
        """Whether true CFG runs."""
        return bool(self.params.get("guided", False))

    @property
    def steps_run(self) -> int:
        """How many of its steps run: one that begins from a picture leaves the first out."""
        return steps_run(self.steps, self.params.get("strength", 1.0))

    @property
    def loras(self) -> int:
        """How many LoRAs it is drawn with."""
        return len(self.params.get("loras", []))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Rows that share one pass, and about how many milliseconds it will take."""

    rows: tuple[ClaimedRow, ...]
    model: str
    batch_key: str
    estimate_ms: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """Rows whose lease is no longer ours, and rows that somebody wants cancelled."""

    lost: frozenset[UUID]
    cancelled: frozenset[UUID]


def claim_pass(
    *,
    lane: str,
    pool: str,
    models: Mapping[str, int],
    worker: UUID,
    hardware: str,
    lease_s: float = 30,
    absent: Sequence[str] = (),
    patience_ms: float = 0,
    most: MostImages | None = None,
) -> Claim | None:
    """Take the rows of the next pass; None when nothing may run now.

    `models`: those this worker has loaded, with the most images of each that fit a pass; `most`, asked with the head's
    shape, may say fewer. `absent`: those that it would load in their turn, which comes after about `patience_ms` at the
    latest. Runs under the worker's role, which sees all tenants.
    """
    if not models:
        return None
    place = {"lane": lane, "pool": pool}
    with transaction.atomic():
        (state,) = fetch_prepared(LOCK_SQL, name=pool_lock_name(lane=lane, pool=pool), **place)
        if state["expired"]:
            requeue_expired(lane=lane, pool=pool)
        for _ in range(_TRIES):
            found = _find_next(place=place, models=models, hardware=hardware)
            if not found:
                return None
            head = found[0]
            chosen = _choose_rows(found, batch_max=_most_images(head, models, most))
            rows = _take_rows(
                head,
                chosen,
                place=place,
                worker=worker,
                hardware=hardware,
                lease_s=lease_s,
                absent=absent,
                patience_ms=patience_ms,
            )
            if rows:
                transaction.on_commit(lambda rows=tuple(rows): _count_waits(rows, lane=lane))  # type: ignore[misc]
                return Claim(
                    rows=tuple(rows),
                    model=head["model_id"],
                    batch_key=head["batch_key"],
                    estimate_ms=sum(row.claimed_ms for row in rows),
                )
    return None


def _most_images(head: Mapping[str, Any], models: Mapping[str, int], most: MostImages | None) -> int:
    batch_max = models[head["model_id"]]
    if most is None:
        return batch_max
    return min(batch_max, most(head["model_id"], head["task"], head["width"], head["height"], head["guided"]))


def find_next_model(*, lane: str, pool: str, models: Sequence[str], hardware: str) -> str | None:
    """Whose turn it is among rows of `models`: the model of the row that a claim would take now. Takes nothing."""
    with transaction.atomic():
        head = fetch_one(
            HEAD_SQL, models=list(models), schemas=list(KNOWN_SCHEMAS), hardware=hardware, lane=lane, pool=pool
        )
    return None if head is None else str(head["model_id"])


def _count_waits(rows: Sequence[ClaimedRow], *, lane: str) -> None:
    for row in rows:
        if row.waited_s is not None:
            WAITED.labels(lane, row.model).observe(max(0.0, row.waited_s))


def requeue_expired(*, lane: str, pool: str) -> int:
    """Put rows whose lease ran out back into the queue; how many. The caller's transaction holds the pool's lock."""
    lost = len(fetch_all(REQUEUE_SQL, lane=lane, pool=pool, max_lost=MAX_LOST))
    if lost:
        transaction.on_commit(lambda: LEASES_LOST.labels(lane, pool).inc(lost))
    return lost


def renew_claims(fences: Mapping[UUID, int], *, steps: Mapping[UUID, int], lease_s: float) -> Renewal:
    """Prolong the leases of rows we hold (id → fence) and write their steps; says which are no longer ours."""
    ids = list(fences)
    rows = fetch_all(
        RENEW_SQL,
        ids=ids,
        fences=[fences[row] for row in ids],
        steps=[steps.get(row) for row in ids],
        lease_s=lease_s,
    )
    return Renewal(
        lost=frozenset(ids) - {row["id"] for row in rows},
        cancelled=frozenset(row["id"] for row in rows if row["cancelled"]),
    )


def _find_next(*, place: Mapping[str, str], models: Mapping[str, int], hardware: str) -> list[dict[str, Any]]:
    """The head and what could share its pass: one row for each tenant, each with the head's columns."""
    return fetch_prepared(
        NEXT_SQL,
        models=list(models),
        schemas=list(KNOWN_SCHEMAS),
        hardware=hardware,
        pass_ms=float(PASS_MS),
        searched=SEARCHED,
        alone=ALONE_AFTER,
        seats=min(PASS_IMAGES, max(models.values())),
        **place,
    )


def _choose_rows(found: Sequence[Mapping[str, Any]], *, batch_max: int) -> dict[UUID, int]:
    """How many images of which rows the pass draws."""
    head = found[0]
    image_ms = float(head["image_ms"])
    seats = count_seats(image_ms=image_ms, batch_max=batch_max)
    waiting = [
        Waiting(id=id, tenant=row["other"], vtime=row["starts"], weight=row["weight"], free=row["free"], left=left)
        for row in found
        for id, left in zip(row["ids"] or (), row["lefts"] or (), strict=True)
    ]
    if seats == 1 or all(row.id != head["id"] for row in waiting):
        return {head["id"]: min(int(head["left"]), seats)}
    return fill_pass(waiting, head=head["id"], start=float(head["vtime"]), image_ms=image_ms, seats=seats)


def _take_rows(
    head: Mapping[str, Any],
    chosen: Mapping[UUID, int],
    *,
    place: Mapping[str, str],
    worker: UUID,
    hardware: str,
    lease_s: float,
    absent: Sequence[str],
    patience_ms: float,
) -> list[ClaimedRow]:
    ids = list(chosen)
    taken = fetch_prepared(
        TAKE_WITH_ABSENT_SQL if absent else TAKE_SQL,
        ids=ids,
        claimed=[round(chosen[row] * head["image_ms"]) for row in ids],
        start=head["vtime"],
        worker=worker,
        lease_s=lease_s,
        absent=list(absent),
        patience_ms=patience_ms,
        schemas=list(KNOWN_SCHEMAS),
        **place,
    )
    taken.sort(key=lambda row: ids.index(row["id"]))
    return [_read_row(row, images=chosen[row["id"]], hardware=hardware) for row in taken]


def _read_row(row: dict[str, Any], *, images: int, hardware: str) -> ClaimedRow:
    first, seed = int(row["done"]), int(row.pop("seed"))
    del row["left_ms"]
    params = row.pop("params")
    return ClaimedRow(
        **row,
        params=json.loads(params) if isinstance(params, str) else params,
        seeds=tuple((index, seed + index) for index in range(first, first + images)),
        hardware=hardware,
    )
