"""Pools at rest: a paused one accepts work and draws none; whoever waits reads the reason."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from accounts.domain.audit import record
from accounts.errors import InvalidField, NotFound
from generation.models import FairClock, Pool, Worker
from generation.queue.wake import wake_pool

MAX_REASON = 200


def pause_pool(*, lane: str, name: str, reason: str, by: UUID | None) -> Pool:
    """Draw nothing more from this pool until it is resumed; what runs is finished. A new reason replaces an old one.

    People see the reason on their studio page. Raises `InvalidField` without one, `NotFound`.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON:
        raise InvalidField(f"say why, in 1 to {MAX_REASON} characters: everybody who waits reads it", field="reason")
    with transaction.atomic():
        pool = _lock_pool(lane=lane, name=name)
        if pool.paused_at is None:
            pool.paused_at = Now()
        pool.paused_by, pool.paused_reason = by, reason
        pool.save(update_fields=["paused_at", "paused_by", "paused_reason"])
        record("pool.paused", target=f"pool:{lane}/{name}", detail={"reason": reason})
    return pool


def resume_pool(*, lane: str, name: str) -> Pool:
    """Draw again. Raises `NotFound`."""
    with transaction.atomic():
        pool = _lock_pool(lane=lane, name=name)
        if pool.paused_at is not None:
            pool.paused_at, pool.paused_by, pool.paused_reason = None, None, ""
            pool.save(update_fields=["paused_at", "paused_by", "paused_reason"])
            record("pool.resumed", target=f"pool:{lane}/{name}")
            transaction.on_commit(lambda: wake_pool(lane=lane, pool=name), robust=True)
    return pool


def _lock_pool(*, lane: str, name: str) -> Pool:
    """The pool's row; it may be missing where a lane has workers or waiting rows, but has never claimed."""
    pool = Pool.objects.select_for_update().filter(lane=lane, name=name).first()
    if pool is not None:
        return pool
    used = (
        FairClock.objects.filter(lane=lane, pool=name).exists() or Worker.objects.filter(lane=lane, pool=name).exists()
    )
    if not used:
        raise NotFound("no such pool")
    Pool.objects.get_or_create(lane=lane, name=name)
    return Pool.objects.select_for_update().get(lane=lane, name=name)
