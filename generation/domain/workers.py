"""GPU workers at rest: a drained one finishes what it holds, claims no more, and waits to be told otherwise."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from accounts.domain.audit import record
from accounts.domain.sql import fetch_one
from accounts.errors import NotFound
from generation.domain.place import WORKER_SILENT_S
from generation.enums import WorkerState
from generation.models import Worker
from generation.queue.wake import wake_pool

ENDED = (WorkerState.STOPPED, WorkerState.FAILED)

_WANTED_SQL = "SELECT drain_requested_at IS NOT NULL AS wanted FROM generation_worker WHERE id = %(worker)s"

_ELSEWHERE_SQL = """
SELECT EXISTS (SELECT FROM generation_worker
                WHERE lane = %(lane)s AND pool = %(pool)s AND id <> %(worker)s AND resident ? %(model)s
                  AND state IN ('idle', 'busy') AND drain_requested_at IS NULL
                  AND seen_at > now() - %(silent_s)s * interval '1 second') AS found
"""


def is_held_elsewhere(worker_id: UUID, *, lane: str, pool: str, model: str) -> bool:
    """Whether another worker of the pool that draws has this model in memory."""
    row = fetch_one(_ELSEWHERE_SQL, worker=worker_id, lane=lane, pool=pool, model=model, silent_s=WORKER_SILENT_S)
    return bool(row and row["found"])


def drain_worker(worker_id: UUID) -> Worker:
    """Ask a worker to finish what it draws and to claim no more. Asking twice changes nothing. Raises `NotFound`.

    One that has nothing to draw is woken, or it would look only when its wait for a wake-up is over.
    """
    with transaction.atomic():
        worker = _lock_worker(worker_id)
        if worker.drain_requested_at is None:
            _set_wanted(worker, wanted=True)
            record("worker.drained", target=f"worker:{worker.pk}", detail=_describe(worker))
            transaction.on_commit(lambda: wake_pool(lane=worker.lane, pool=worker.pool), robust=True)
    return worker


def undo_drain(worker_id: UUID) -> Worker:
    """Let a drained worker draw again, within a second or two. Raises `NotFound`."""
    with transaction.atomic():
        worker = _lock_worker(worker_id)
        if worker.drain_requested_at is not None:
            _set_wanted(worker, wanted=False)
            record("worker.undrained", target=f"worker:{worker.pk}", detail=_describe(worker))
            transaction.on_commit(lambda: wake_pool(lane=worker.lane, pool=worker.pool), robust=True)
    return worker


def is_drain_wanted(worker_id: UUID) -> bool:
    """Whether staff want this worker drained; it asks before each claim."""
    row = fetch_one(_WANTED_SQL, worker=worker_id)
    return bool(row and row["wanted"])


def _lock_worker(worker_id: UUID) -> Worker:
    worker = Worker.objects.select_for_update().filter(pk=worker_id).exclude(state__in=ENDED).first()
    if worker is None:
        raise NotFound("no such worker is running")
    return worker


def _set_wanted(worker: Worker, *, wanted: bool) -> None:
    # This column only: the worker writes all others.
    Worker.objects.filter(pk=worker.pk).update(drain_requested_at=Now() if wanted else None)
    worker.refresh_from_db(fields=["drain_requested_at"])


def _describe(worker: Worker) -> dict[str, str]:
    return {"name": worker.name, "lane": worker.lane, "pool": worker.pool}
