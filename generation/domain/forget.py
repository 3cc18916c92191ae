"""The errand behind a deleted account: what the person has drawn and asked in one tenant goes: rows, files, words."""

from __future__ import annotations

import logging
from contextlib import suppress

from accounts.domain.audit import record
from accounts.domain.errands import ClaimedErrand, Lease, errand
from accounts.enums import ErrandKind
from accounts.tenancy import current_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.lostcalls import forget_words
from generation.domain.remove import remove_generation
from generation.enums import FINAL, CallOutcome
from generation.errors import AlreadyFinished, GenerationNotFound
from generation.models import ChatCall, Generation

log = logging.getLogger(__name__)

BATCH = 200


class StillDrawn(Exception):
    """A worker has not let go of a generation yet, or a chat call is under way; the errand comes again."""


@errand(ErrandKind.DELETE_PICTURES)
def delete_pictures(claimed: ClaimedErrand) -> None:
    """Cancel what waits and runs, remove what has ended; runs in the tenant's scope. Raises `StillDrawn`.

    Each generation is a transaction of its own, with the errand that deletes its files: whoever is killed in the middle
    is followed by another worker, which goes on.
    """
    if claimed.ref is None:
        raise ValueError("the errand names no person")
    lease, removed = Lease(claimed), 0
    own = Generation.objects.filter(user=claimed.ref)
    for id in list(own.exclude(status__in=FINAL).values_list("pk", flat=True)):
        lease.keep()
        with suppress(AlreadyFinished, GenerationNotFound):
            cancel_generation(id)
    while ids := list(own.filter(status__in=FINAL).values_list("pk", flat=True)[:BATCH]):
        for id in ids:
            lease.keep()
            with suppress(GenerationNotFound):
                remove_generation(id)
                removed += 1
    under_way = ChatCall.objects.filter(user=claimed.ref, outcome=CallOutcome.RUNNING).count()
    forget_words(tenant=current_tenant(), users=[claimed.ref])
    if removed:
        record("pictures.deleted", target=f"user:{claimed.ref}", detail={"generations": removed})
    if left := own.count():
        raise StillDrawn(f"{left} generations are being drawn")
    if under_way:  # their words are written when they end
        raise StillDrawn(f"{under_way} chat calls are under way")
