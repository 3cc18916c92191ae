"""Giving work up that a client waited for in vain: the studio was too slow, so the studio pays."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from accounts.domain.sql import execute
from generation.domain.cancel import cancel_generation

# Before the cancelling, in the order of locks of `generation/domain/submit.py`.
_FORGET_KEY_SQL = "DELETE FROM generation_idempotency WHERE generation_id = %(id)s AND tenant_id = app_tenant()"
_WAIVE_SQL = """
UPDATE generation_generation SET cancel_is_free = true
 WHERE id = %(id)s AND tenant_id = app_tenant() AND status IN ('queued', 'running') AND cancel_requested_at IS NULL
"""


def give_up_generation(id: UUID) -> str:
    """Cancel one of the tenant's generations at our own cost; "canceled", or "running" until its worker hears of it.

    Pictures that are stored already stay and are charged, everything else is given back; it is none of the tenant's
    cancels of the day. Its `Idempotency-Key` is free again: what was answered with 503 is never an answer to repeat.

    Raises `GenerationNotFound` and `AlreadyFinished`: then nothing has changed.
    """
    with transaction.atomic():
        execute(_FORGET_KEY_SQL, id=id)
        execute(_WAIVE_SQL, id=id)
        return cancel_generation(id)


def forget_key(id: UUID) -> None:
    """Free the `Idempotency-Key` that has made a generation: its next request is a new one."""
    execute(_FORGET_KEY_SQL, id=id)
