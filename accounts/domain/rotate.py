"""Rotation: a key gets a second secret, and its first one an end. Two live ones is the most.

Secrets that have ended are forgotten when their key is next rotated, and by the sweep.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.keybounds import check_within
from accounts.domain.keys import SHOWN_CHARS, add_secret, check_is_live, drop_secrets, lock_key, new_secret
from accounts.domain.roles import Right
from accounts.domain.sql import execute
from accounts.errors import InvalidField, NotAllowed, RotationOverlaps
from accounts.models import ApiKey, KeySecret

DEFAULT_OVERLAP_S = 24 * 3600
MAX_OVERLAP_S = 7 * 24 * 3600

# Secrets that have ended, by themselves or with their key. The worker's role sees every tenant's. What somebody ends or
# rotates at this moment is theirs: the sweep waits for no key.
_FORGET_SQL = """
WITH ended AS (
  SELECT s.id FROM accounts_keysecret s JOIN accounts_apikey k ON k.tenant_id = s.tenant_id AND k.id = s.key_id
   WHERE s.expires_at <= now() OR k.expires_at <= now() FOR UPDATE OF s SKIP LOCKED),
gone AS (DELETE FROM accounts_keysecret s USING ended WHERE s.id = ended.id RETURNING s.sha256)
DELETE FROM accounts_keydirectory d USING gone WHERE d.sha256 = gone.sha256
"""

# Entries whose secret went with its key's member, whom staff have deleted.
_ORPHANS_SQL = """
DELETE FROM accounts_keydirectory d
 WHERE NOT EXISTS (SELECT FROM accounts_keysecret s WHERE s.tenant_id = d.tenant_id AND s.sha256 = d.sha256)
"""


def rotate_key(*, by: Caller, key_id: UUID, overlap_s: int = DEFAULT_OVERLAP_S) -> tuple[ApiKey, str]:
    """Give a key a new secret, which is returned once; the old one works for `overlap_s` seconds more (0: no longer).

    Raises `NotFound`; `NotAllowed` for somebody else's key, and for a key that would get hold of one that exceeds it;
    `KeyEnded`; `RotationOverlaps` while the last rotation's old secret lives; `InvalidField`.
    """
    if not 0 <= overlap_s <= MAX_OVERLAP_S:
        raise InvalidField(f"overlap_s must be a whole number from 0 to {MAX_OVERLAP_S}", field="overlap_s")
    with transaction.atomic():
        key = lock_key(by=by, key_id=key_id)
        _require_own(by, key)
        check_is_live(key)
        now = timezone.now()
        drop_secrets([key], Q(expires_at__lte=now))
        ending = KeySecret.objects.filter(key=key).exclude(expires_at=None).first()
        if ending is not None and ending.expires_at is not None:
            raise RotationOverlaps(ending.expires_at)
        if overlap_s:
            KeySecret.objects.filter(key=key, prefix="").update(prefix=key.prefix)
            KeySecret.objects.filter(key=key).update(expires_at=now + timedelta(seconds=overlap_s))
        else:
            drop_secrets([key])
        secret = new_secret()
        add_secret(key, secret)
        key.prefix = secret[:SHOWN_CHARS]
        key.save(update_fields=["prefix"])
        record("key.rotated", target=f"key:{key.id}", detail={"name": key.name, "overlap_s": overlap_s})
    return key, secret


def finish_rotation(*, by: Caller, key_id: UUID) -> ApiKey:
    """End the old secret of a rotation now. Where there is none, nothing changes.

    Raises `NotFound`, `NotAllowed`, `KeyEnded`.
    """
    with transaction.atomic():
        key = lock_key(by=by, key_id=key_id)
        check_is_live(key)
        if drop_secrets([key], Q(expires_at__isnull=False)):
            record("key.rotation_finished", target=f"key:{key.id}", detail={"name": key.name})
    return key


def forget_ended_secrets() -> int:
    """Take secrets that have ended out of the directory, of all tenants, under the worker's role; returns how many."""
    return execute(_FORGET_SQL) + execute(_ORPHANS_SQL)


def _require_own(by: Caller, key: ApiKey) -> None:
    by.require(Right.MAKE_KEYS)
    if key.user_id != by.user:
        raise NotAllowed("only the member for whom a key acts can rotate it; you can revoke it")
    if key.pk != by.key:
        check_within(by, scopes=key.scopes, expires_at=key.expires_at)
