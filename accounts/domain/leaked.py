"""Keys that got into the wrong hands: whoever holds one may end it, and nobody else learns anything by it."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.domain.audit import Actor, acting, current_actor, record
from accounts.domain.callers import Caller
from accounts.domain.keys import end_keys, hash_secret, key_is_wellformed
from accounts.domain.mail import queue_mail
from accounts.domain.places import count_report
from accounts.errors import InvalidField, NotAllowed
from accounts.models import ApiKey, KeyDirectory, KeySecret
from accounts.tenancy import in_tenant


def revoke_own_key(*, by: Caller) -> ApiKey:
    """A key ends itself, whatever its scopes, and its member is told. Raises `NotAllowed` for a caller without one."""
    if by.key is None:
        raise NotAllowed("this ends the key that asks for it: send the key (Authorization: Bearer qs_…)")
    with transaction.atomic():
        key: ApiKey = ApiKey.objects.select_for_update(of=("self",)).select_related("user").get(pk=by.key)
        if key.revoked_at is None:
            _end(key, action="key.revoked_itself", mail="key_revoked_itself")
    return key


def report_leaked_key(*, secret: str) -> None:
    """End a key that somebody has found, and tell its member. Nothing says whether there was such a key.

    Raises `InvalidField` for what cannot be a key (its checksum tells, without a look-up), `TooManyReports`.
    """
    address = current_actor().address
    count_report(address=address)
    if not key_is_wellformed(secret):
        raise InvalidField("this is no whole api key: copy all of it, from qs_live_ to its end", field="key")
    sha256 = hash_secret(secret)
    found = KeyDirectory.objects.filter(sha256=sha256).values_list("tenant_id", flat=True).first()
    if found is None:
        return
    # Who is signed in here while reporting is nobody's business there: the event names the address only.
    with in_tenant(found), acting(Actor(address=address)), transaction.atomic():
        held = KeySecret.objects.filter(sha256=sha256).values("key_id")
        key = ApiKey.objects.select_for_update(of=("self",)).select_related("user").filter(pk__in=held).first()
        if key is not None and key.revoked_at is None:
            _end(key, action="key.leaked", mail="key_leaked")


def _end(key: ApiKey, *, action: str, mail: str) -> None:
    end_keys([key])
    record(action, target=f"key:{key.id}", detail={"name": key.name, "prefix": key.prefix})
    queue_mail(
        mail,
        to=key.user.email,
        language=key.user.language,
        context={"name": key.name, "prefix": key.prefix, "when": _written(key.revoked_at or timezone.now())},
        tenant=key.tenant_id,
    )


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
