"""The sweep: whatever should have happened and did not. Each part is a transaction of its own and may run twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from django.db import InterfaceError, InternalError, OperationalError, transaction

from accounts.domain.notices import send_limit_notices
from accounts.domain.rotate import forget_ended_secrets
from accounts.domain.sql import execute, fetch_all, fetch_one
from generation.domain.claim import requeue_expired
from generation.domain.clocks import lock_pool, repair_clocks
from generation.domain.failures import forget_failures
from generation.domain.finish import give_up_lost
from generation.domain.inputends import forget_unused_inputs
from generation.domain.lostanswers import end_lost_answers
from generation.domain.lostcalls import settle_lost_calls
from generation.domain.place import WORKER_SILENT_S
from generation.domain.searchtext import fold_prompts
from generation.queue.wake import wake_errands, wake_pool
from generation.releases.handover import hand_over_stranded

logger = logging.getLogger(__name__)

FORGET_EVERY_S = 60.0  # secrets of keys that have ended
REPAIR_EVERY_S = 60.0  # counting all waiting rows costs 30 ms at 100,000 of them

T = TypeVar("T")

_POOLS_SQL = """
SELECT c.lane, c.pool, sum(c.queued)::int AS queued,
       EXISTS (SELECT FROM generation_pool p WHERE p.lane = c.lane AND p.name = c.pool AND p.paused_at IS NOT NULL)
         AS paused,
       EXISTS (SELECT FROM generation_generation g WHERE g.status = 'running' AND g.lease_until < now()
                AND g.lane = c.lane AND g.pool = c.pool) AS expired
  FROM generation_fairclock c
 WHERE %(lane)s::text IS NULL OR c.lane = %(lane)s
 GROUP BY c.lane, c.pool ORDER BY c.lane, c.pool
"""
_PRUNE_SQL = "DELETE FROM generation_idempotency WHERE created_at < now() - interval '24 hours'"
_ERRANDS_SQL = """
SELECT count(*)::int AS due FROM accounts_errand
 WHERE failed_at IS NULL AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
"""
_GONE_SQL = f"""
UPDATE generation_worker SET state = 'stopped', detail = 'not seen any more'
 WHERE state NOT IN ('stopped', 'failed', 'loading') AND seen_at < now() - interval '{WORKER_SILENT_S} seconds'
    OR state = 'loading' AND seen_at < now() - interval '15 minutes'
"""  # noqa: S608  (a number of this package)
_FORGET_SQL = """
DELETE FROM generation_worker WHERE state IN ('stopped', 'failed') AND seen_at < now() - interval '7 days'
"""


@dataclass(slots=True)
class SweepReport:
    """What was found. All zero: everything was in order (`waiting` are no fault)."""

    waiting: int = 0  # generations in the queues
    woken: int = 0  # pools and errand queues that were told
    requeued: int = 0  # rows whose lease had run out
    failed: int = 0  # after their fifth lost lease
    canceled: int = 0  # were to be cancelled when their worker was lost
    pruned: int = 0  # idempotency keys of more than a day ago
    secrets_ended: int = 0  # of API keys, that were still in the directory
    limits_told: int = 0  # of which people were told by e-mail
    calls_lost: int = 0  # chat calls whose process died
    answers_lost: int = 0  # answers of conversations that nobody writes any more
    inputs_forgotten: int = 0  # pictures that were sent a day ago and that no generation has used
    errands_due: int = 0
    workers_gone: int = 0
    repaired: int = 0  # clocks whose counts were wrong
    folded: int = 0  # prompts that searches could not read yet as they should
    handed_over: int = 0  # rows of a lane in which nobody draws them, to the one that serves
    errors: list[str] = field(default_factory=list)


_repaired_at: dict[tuple[str, str], float] = {}
_forgot_at = -FORGET_EVERY_S


def sweep(*, lane: str | None = None) -> SweepReport:
    """Sweep one lane or all; runs under the worker's role.

    A part that fails is written down and does not keep the others from running; a database that is out of reach raises.
    """
    report = SweepReport()
    for row in _attempt(report, "look at the pools", lambda: fetch_all(_POOLS_SQL, lane=lane)) or []:
        _attempt(report, f"sweep {row['lane']}/{row['pool']}", lambda row=row: _sweep_pool(report, **row))  # type: ignore[misc]
    ended = _attempt(report, "give up lost rows", lambda: give_up_lost(lane=lane)) or []
    report.failed, report.canceled = ended.count("failed"), ended.count("canceled")
    report.pruned = _attempt(report, "prune idempotency keys", lambda: execute(_PRUNE_SQL)) or 0
    report.secrets_ended = _attempt(report, "forget secrets that have ended", _forget_secrets) or 0
    report.workers_gone = _attempt(report, "look for workers", lambda: execute(_GONE_SQL)) or 0
    _attempt(report, "forget old workers", lambda: execute(_FORGET_SQL))
    _attempt(report, "forget old failures", forget_failures)
    report.calls_lost = _attempt(report, "settle lost chat calls", settle_lost_calls) or 0
    report.answers_lost = _attempt(report, "end lost answers", end_lost_answers) or 0
    report.inputs_forgotten = _attempt(report, "forget unused inputs", forget_unused_inputs) or 0
    report.limits_told = _attempt(report, "tell of limits", send_limit_notices) or 0
    report.handed_over = _attempt(report, "look at the other lane", hand_over_stranded) or 0
    report.folded = _attempt(report, "fold prompts", fold_prompts) or 0
    _attempt(report, "look for errands", lambda: _wake_errands(report, lane=lane))
    return report


def _sweep_pool(report: SweepReport, *, lane: str, pool: str, queued: int, paused: bool, expired: bool) -> None:
    requeued = 0
    if expired:
        with transaction.atomic():
            lock_pool(lane=lane, pool=pool)
            requeued = requeue_expired(lane=lane, pool=pool)
    report.requeued += requeued
    report.waiting += queued + requeued
    if time.monotonic() - _repaired_at.get((lane, pool), -REPAIR_EVERY_S) >= REPAIR_EVERY_S:
        _repaired_at[lane, pool] = time.monotonic()
        with transaction.atomic():
            wrong = repair_clocks(lane=lane, pool=pool)
        if wrong:
            logger.error("clocks of %d tenants in %s/%s had wrong counts", len(wrong), lane, pool)
        report.repaired += len(wrong)
    if queued + requeued > 0 and not paused:
        report.woken += wake_pool(lane=lane, pool=pool)


def _forget_secrets() -> int:
    global _forgot_at
    if time.monotonic() - _forgot_at < FORGET_EVERY_S:
        return 0
    _forgot_at = time.monotonic()
    return forget_ended_secrets()


def _wake_errands(report: SweepReport, *, lane: str | None) -> None:
    row = fetch_one(_ERRANDS_SQL)
    report.errands_due = row["due"] if row else 0
    if report.errands_due:
        # An errand belongs to no lane: whichever has a worker does it.
        for name in (lane,) if lane else ("blue", "green"):
            report.woken += wake_errands(name)


def _attempt(report: SweepReport, what: str, act: Callable[[], T]) -> T | None:
    try:
        return act()
    except (OperationalError, InterfaceError, InternalError):  # `generation.worker.database.UNREACHABLE` says why
        raise
    except Exception as error:  # one bad row must not stop what others wait for
        logger.exception("sweep could not %s", what)
        report.errors.append(f"{what}: {error}"[:300])
        return None
