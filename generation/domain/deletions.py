"""The errand of a large deletion: some generations at a time, each time in one transaction with how far it is.

A worker that is killed at any line is followed by another one, which goes on where the row says: generations, their
pictures, the errand for their files and the row's own progress are written together or not at all.
"""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import transaction

from accounts.domain.errands import MAX_ATTEMPTS, ClaimedErrand, Interrupted, Lease, LeaseLost, errand
from accounts.enums import ErrandKind
from generation.domain.selections import UNDER_WAY, delete_some, fail_selection
from generation.enums import Act
from generation.models import Selection

log = logging.getLogger(__name__)

BATCH = 100


@errand(ErrandKind.DELETE_SELECTED)
def delete_selected(claimed: ClaimedErrand) -> None:
    """Delete what the named selection holds. Runs in the tenant's scope."""
    if claimed.ref is None:
        raise ValueError("the errand names no selection")
    lease = Lease(claimed)
    try:
        while _step(claimed.ref):
            lease.keep()
    except (LeaseLost, Interrupted):
        raise
    except Exception:
        if claimed.attempt >= MAX_ATTEMPTS:
            fail_selection(claimed.ref, "it went wrong on our side; the operators of this studio can see why")
        raise
    log.info("a selection was deleted", extra={"selection": str(claimed.ref)})


def _step(selection: UUID) -> bool:
    with transaction.atomic():
        row = Selection.objects.select_for_update().filter(pk=selection, act=Act.DELETE, status__in=UNDER_WAY).first()
        return row is not None and delete_some(row, most=BATCH)
