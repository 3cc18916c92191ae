"""Second factors: who has one, and what keeps a code from being used twice.

allauth holds them (`Authenticator`); their secrets are sealed by `accounts/web/adapters.py`.
"""

from __future__ import annotations

import logging
from hmac import compare_digest
from typing import Any
from uuid import UUID

from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from accounts.domain.audit import record
from accounts.domain.mail import queue_mail
from accounts.domain.sealed import Unreadable, unseal
from accounts.models import User

log = logging.getLogger(__name__)


def has_second_factor(user: UUID) -> bool:
    """Whether the person is asked for a code at sign-in."""
    return bool(Authenticator.objects.filter(user_id=user, type=Authenticator.Type.TOTP).exists())


def spend_code(*, user: UUID, code: str) -> Authenticator | None:
    """The factor that a code belongs to, a time-based one or a recovery code; each works once. `None` for a wrong one.

    The row is locked and remembers the last time step, so a code that somebody looked at is worth nothing a second time
    in any process (RFC 6238, section 5.2).
    """
    with transaction.atomic():
        factors = Authenticator.objects.select_for_update().filter(user_id=user).order_by("pk")
        for factor in factors:
            try:
                if _spend(factor, code):
                    return factor
            except Unreadable as error:  # as if it were wrong; staff can take the factor away
                log.error("a second factor cannot be read: %s", error, extra={"user": str(user)})
    return None


def step_of(*, secret: str, code: str) -> int | None:
    """The time step (half a minute) of a code that is good now; `None` for a wrong one."""
    digits = "".join(code.split()).encode()
    for step in yield_hotp_counters_from_time():
        if compare_digest(digits, format_hotp_value(hotp_value(secret, step)).encode()):
            return int(step)
    return None


def remember_step(factor: Authenticator, step: int) -> None:
    """Codes up to this step are worth nothing from now on."""
    factor.data["last_step"] = step
    factor.save(update_fields=["data"])


def drop_factors(user: User) -> bool:
    """For staff, when somebody has lost phone and codes: whether there were any. The person is told."""
    with transaction.atomic():
        # One by one: each is an event of its own.
        factors = list(Authenticator.objects.select_for_update().filter(user_id=user.pk))
        for factor in factors:
            factor.delete()
        if factors:
            queue_mail("factor_dropped", to=user.email, language=user.language)
    return bool(factors)


def recovery_codes_left(user: UUID) -> int | None:
    """How many are unused; `None` without a second factor."""
    factor = Authenticator.objects.filter(user_id=user, type=Authenticator.Type.RECOVERY_CODES).first()
    if factor is None:
        return None
    # By the mask of used ones: counting needs no key.
    return int(app_settings.RECOVERY_CODE_COUNT) - int(factor.data["used_mask"]).bit_count()


def _spend(factor: Authenticator, code: str) -> bool:
    if factor.type == Authenticator.Type.TOTP:
        return _spend_totp(factor, code)
    if not factor.wrap().validate_code(code):
        return False
    factor.refresh_from_db()
    return True


def _spend_totp(factor: Authenticator, code: str) -> bool:
    step = step_of(secret=str(unseal(factor.data["secret"])), code=code)
    if step is None or step <= factor.data.get("last_step", 0):
        return False
    remember_step(factor, step)
    return True


def _on_saved(*, instance: Authenticator, created: bool, raw: bool = False, **_: Any) -> None:
    if created and not raw:
        record("factor.added", target=f"user:{instance.user_id}", detail={"type": instance.type}, personal=True)


def _on_deleted(*, instance: Authenticator, **_: Any) -> None:
    record("factor.removed", target=f"user:{instance.user_id}", detail={"type": instance.type}, personal=True)


def connect() -> None:
    """Called once, when the app is ready: however a factor comes or goes, the audit log has it."""
    post_save.connect(_on_saved, sender=Authenticator, dispatch_uid="accounts.factors.added")
    post_delete.connect(_on_deleted, sender=Authenticator, dispatch_uid="accounts.factors.removed")
