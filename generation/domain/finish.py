"""How a run ends: finished, failed, given back. Each is one transaction that names the fence, so it happens once.

"0 rows changed" means that somebody else has the row: nothing is written, and whoever called deletes its own files.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from accounts.domain.quotas import refund, settle
from accounts.domain.sql import fetch_one
from accounts.domain.stored import move_stored
from accounts.enums import Metric
from accounts.ids import uuid7
from accounts.tenancy import current_scope, in_tenant
from generation.domain.claim import MAX_LOST, ClaimedRow
from generation.domain.clocks import REMAINING_MS, move_clock
from generation.domain.cost import record_cost
from generation.domain.failures import FailureNote, write_failure
from generation.domain.receipts import sign_receipt
from generation.domain.submit import reserved_amounts
from generation.enums import FINAL, Status
from generation.meters import ENDED, FAILURES, IMAGES, LEASES_LOST, RETRIES
from generation.models import Image, Receipt
from generation.queue.progress import publish
from generation.queue.wake import wake_pool

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # failures of the row's own

Ending = Literal["refund", "settle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """One picture that lies on the disk; paths are relative to `STUDIO_MEDIA`. The receipt says how it was made."""

    index: int
    file: str
    thumbnail: str
    format: str
    sha256: str
    bytes: int
    thumbnail_bytes: int
    width: int
    height: int
    seed: int
    receipt: dict[str, Any]


# What a statement below must return about the row it changed.
LEFT_COLUMNS = f"""g.id, g.tenant_id, g."user", g.key, g.model_id, g.lane, g.pool, g.status, g.n, g.done, g.charged_on,
  g.estimate_ms, g.claimed_ms, g.cost_ms, g.cancel_is_free, {REMAINING_MS.format(row="g")} AS remaining_ms"""

_FINISH_SQL = f"""
UPDATE generation_generation g
   SET done = g.done + %(images)s, cost_ms = g.cost_ms + %(run_ms)s, lease_until = NULL, worker = NULL,
       step = CASE WHEN g.done + %(images)s >= g.n THEN g.steps ELSE (g.done + %(images)s) * g.steps / g.n END,
       warnings = g.warnings || (
         SELECT coalesce(jsonb_agg(w), '[]') FROM jsonb_array_elements(%(warnings)s::jsonb) AS w
          WHERE NOT g.warnings @> jsonb_build_array(jsonb_build_object('code', w -> 'code'))),
       status = CASE WHEN g.done + %(images)s >= g.n THEN 'succeeded'
                     WHEN g.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE 'queued' END,
       finished_at = CASE WHEN g.done + %(images)s >= g.n OR g.cancel_requested_at IS NOT NULL
                          THEN clock_timestamp() END
 WHERE g.id = %(id)s AND g.tenant_id = %(tenant)s AND g.fence = %(fence)s AND g.status = 'running'
RETURNING {LEFT_COLUMNS}
"""  # noqa: S608  (only constants of this package are put in, here and below)

_FAIL_SQL = f"""
UPDATE generation_generation g
   SET attempt = g.attempt + 1, lease_until = NULL, worker = NULL, step = g.done * g.steps / g.n,
       error_code = %(code)s, error_message = %(message)s,
       status = CASE WHEN g.cancel_requested_at IS NOT NULL THEN 'canceled'
                     WHEN %(retry)s AND g.attempt + 1 < %(most)s THEN 'queued' ELSE 'failed' END,
       finished_at = CASE WHEN g.cancel_requested_at IS NULL AND %(retry)s AND g.attempt + 1 < %(most)s
                          THEN NULL ELSE clock_timestamp() END
 WHERE g.id = %(id)s AND g.tenant_id = %(tenant)s AND g.fence = %(fence)s AND g.status = 'running'
RETURNING {LEFT_COLUMNS}
"""  # noqa: S608

_RELEASE_SQL = f"""
UPDATE generation_generation g
   SET lease_until = NULL, worker = NULL, step = g.done * g.steps / g.n,
       status = CASE WHEN g.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE 'queued' END,
       finished_at = CASE WHEN g.cancel_requested_at IS NOT NULL THEN clock_timestamp() END
 WHERE g.id = %(id)s AND g.tenant_id = %(tenant)s AND g.fence = %(fence)s AND g.status = 'running'
RETURNING {LEFT_COLUMNS}
"""  # noqa: S608

# Lost its last allowed lease, or lost one while it was to be cancelled. The raised fence shuts the old owner out.
_GIVE_UP_SQL = f"""
UPDATE generation_generation g
   SET lost = g.lost + 1, fence = g.fence + 1, lease_until = NULL, worker = NULL, finished_at = clock_timestamp(),
       status = CASE WHEN g.cancel_requested_at IS NOT NULL THEN 'canceled' ELSE 'failed' END,
       error_code = CASE WHEN g.cancel_requested_at IS NOT NULL THEN '' ELSE 'lost' END,
       error_message = CASE WHEN g.cancel_requested_at IS NOT NULL THEN ''
                            ELSE 'every worker that took this was lost: it may need more memory than there is' END
 WHERE g.id = (SELECT id FROM generation_generation
                WHERE status = 'running' AND lease_until < clock_timestamp()
                  AND (lost + 1 >= %(max_lost)s OR cancel_requested_at IS NOT NULL)
                  AND (%(lane)s::text IS NULL OR lane = %(lane)s)
                ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {LEFT_COLUMNS}
"""  # noqa: S608


def finish_slice(
    *, row: ClaimedRow, images: Sequence[StoredImage], run_ms: float, warnings: Sequence[Mapping[str, str]] = ()
) -> Literal["finished", "continues", "lost"]:
    """Deliver the pictures of a claimed row: images, receipts, ledger, clock, storage and cost in one transaction.

    `run_ms`: the row's share of the pass in GPU milliseconds. "continues": it has images left and waits for its next
    turn. "lost": nothing was written, the caller deletes its files.
    """
    run = max(0, round(run_ms))
    with scope_of(row.tenant), transaction.atomic():
        changed = fetch_one(
            _FINISH_SQL, images=len(images), run_ms=run, warnings=json.dumps(list(warnings)), **_names(row)
        )
        if changed is None:
            return "lost"
        _insert_images(row, images)
        continues = changed["status"] == Status.QUEUED
        if not continues:
            charge_ending(changed, "settle")
        leave_run(changed, used_ms=run - changed["claimed_ms"])
        move_stored(tenant=row.tenant, size=sum(image.bytes + image.thumbnail_bytes for image in images))
        if images and row.hardware:
            record_cost(
                model=row.model,
                hardware=row.hardware,
                task=row.task,
                width=row.width,
                height=row.height,
                steps=row.steps_run,
                guided=row.guided,
                image_ms=run / len(images),
                loras=row.loras,
            )
        tell_change(changed)
        transaction.on_commit(lambda: IMAGES.labels(changed["lane"], row.model).inc(len(images)), robust=True)
    return "continues" if continues else "finished"


def fail_row(
    *, row: ClaimedRow, code: str, message: str, retry: bool, note: FailureNote | None = None
) -> Literal["failed", "retried", "lost"]:
    """The row failed by itself. Up to three times it goes back to the queue; then it ends, with a full refund.

    `note`: what its worker knows about it, for staff; each failed try leaves one.
    """
    with scope_of(row.tenant), transaction.atomic():
        changed = fetch_one(
            _FAIL_SQL, code=code[:40], message=_clean(message), retry=retry, most=MAX_ATTEMPTS, **_names(row)
        )
        if changed is None:
            return "lost"
        if changed["status"] == Status.FAILED:
            charge_ending(changed, "refund")
        elif changed["status"] == Status.CANCELED:
            charge_ending(changed, "settle")
        if note is not None:
            write_failure(tenant=row.tenant, generation=row.id, code=code, note=note)
        leave_run(changed)
        tell_change(changed)
        _count_failure(changed, code=code)
    return "retried" if changed["status"] == Status.QUEUED else "failed"


def release_row(*, row: ClaimedRow) -> bool:
    """Give a row back as if it had never been claimed (a stopping worker, a full disk); False when it was lost."""
    with scope_of(row.tenant), transaction.atomic():
        changed = fetch_one(_RELEASE_SQL, **_names(row))
        if changed is None:
            return False
        if changed["status"] == Status.CANCELED:
            charge_ending(changed, "settle")
        leave_run(changed, used_ms=-changed["claimed_ms"])
        tell_change(changed)
    return True


def give_up_lost(*, lane: str | None = None) -> list[Literal["failed", "canceled"]]:
    """End the rows that lost their fifth lease (full refund) or were to be cancelled when they lost one (settled).

    One transaction each, under the worker's role. The sweep's part.
    """
    ended: list[Literal["failed", "canceled"]] = []
    while True:
        with transaction.atomic():
            changed = fetch_one(_GIVE_UP_SQL, max_lost=MAX_LOST, lane=lane)
            if changed is None:
                return ended
            with scope_of(changed["tenant_id"]):
                is_failed = changed["status"] == Status.FAILED
                if is_failed:
                    write_failure(
                        tenant=changed["tenant_id"],
                        generation=changed["id"],
                        code="lost",
                        note=FailureNote(worker=None),
                    )
                charge_ending(changed, "refund" if is_failed else "settle")
                leave_run(changed)
            tell_change(changed)
            _count_failure(changed, code="lost")
            transaction.on_commit(LEASES_LOST.labels(changed["lane"], changed["pool"]).inc, robust=True)
        ended.append("failed" if is_failed else "canceled")
        logger.warning("gave up on a row that lost its leases", extra={"generation": str(changed["id"])})


def charge_ending(changed: Mapping[str, Any], ending: Ending) -> None:
    """Close a generation's account: everything back, or what it has cost. Once; a second time raises."""
    work = {
        "ref": changed["id"],
        "tenant": changed["tenant_id"],
        "user": changed["user"],
        "key": changed["key"],
        "charged_on": changed["charged_on"],
        "reserved": reserved_amounts(estimate_ms=changed["estimate_ms"], n=changed["n"]),
        "label": changed["model_id"],
    }
    if ending == "refund":
        # What was cancelled at our cost does not count for the plan's `cancels_per_day`.
        refund(**work, reason="too slow" if changed["cancel_is_free"] else changed["status"])
    else:
        settle(**work, actual={Metric.GPU_MS: changed["cost_ms"], Metric.IMAGES: changed["done"]})


def leave_run(changed: Mapping[str, Any], *, used_ms: float = 0.0) -> None:
    """Take a row out of its tenant's running ones, into the waiting ones when it goes on; correct the clock."""
    waits = changed["status"] == Status.QUEUED
    move_clock(
        lane=changed["lane"],
        pool=changed["pool"],
        tenant=changed["tenant_id"],
        queued=int(waits),
        queued_ms=changed["remaining_ms"] if waits else 0,
        running=-1,
        running_ms=-changed["claimed_ms"],
        used_ms=used_ms,
    )


def tell_change(changed: Mapping[str, Any]) -> None:
    """After the commit: the event of an ending, or a wake-up for what waits again."""
    transaction.on_commit(_announcer(changed), robust=True)


def _count_failure(changed: Mapping[str, Any], *, code: str) -> None:
    """After the commit: one more that failed for this reason, or was tried and goes back to the queue."""
    counter = {Status.FAILED: FAILURES, Status.QUEUED: RETRIES}.get(changed["status"])
    if counter is not None:
        transaction.on_commit(counter.labels(changed["lane"], changed["model_id"], code).inc, robust=True)


def _announcer(changed: Mapping[str, Any]) -> Callable[[], None]:
    def announce() -> None:
        if changed["status"] in FINAL:
            ENDED.labels(changed["lane"], changed["model_id"], changed["status"]).inc()
            publish(tenant=changed["tenant_id"], generation=changed["id"], kind=changed["status"])
        else:
            publish(tenant=changed["tenant_id"], generation=changed["id"], kind=Status.QUEUED.value)
            wake_pool(lane=changed["lane"], pool=changed["pool"])

    return announce


def _insert_images(row: ClaimedRow, images: Sequence[StoredImage]) -> None:
    rows = [
        Image(
            id=uuid7(),
            tenant_id=row.tenant,
            generation_id=row.id,
            index=image.index,
            file=image.file,
            thumbnail=image.thumbnail,
            format=image.format,
            sha256=image.sha256,
            bytes=image.bytes,
            thumbnail_bytes=image.thumbnail_bytes,
            width=image.width,
            height=image.height,
            seed=image.seed,
        )
        for image in images
    ]
    Image.objects.bulk_create(rows)
    Receipt.objects.bulk_create(
        Receipt(tenant_id=row.tenant, image_id=made.id, body=image.receipt, signature=sign_receipt(image.receipt))
        for made, image in zip(rows, images, strict=True)
    )


def _names(row: ClaimedRow) -> dict[str, Any]:
    return {"id": row.id, "tenant": row.tenant, "fence": row.fence}


def scope_of(tenant: UUID) -> AbstractContextManager[None]:
    """The tenant's scope, entered unless it is in force already."""
    return nullcontext() if current_scope().tenant == tenant else in_tenant(tenant)


def _clean(message: str) -> str:
    """Text as its column takes it."""
    return message.replace("\x00", "").encode("utf-8", "replace").decode()[:500]
