"""API keys: how they look, how they are made, who sees them, how they end.

What a key may be is in `keybounds.py`, how its secret is exchanged in `rotate.py`, how it is changed in `keychange.py`.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.domain.addresses import read_networks
from accounts.domain.audit import record
from accounts.domain.keybounds import check_end, check_name, check_scopes, check_within
from accounts.domain.limits import KEY_LIMITS, check_limits
from accounts.domain.pages import Page, read_page
from accounts.domain.roles import Right
from accounts.errors import KeyEnded, NotAllowed, NotFound, TooManyKeys
from accounts.models import ApiKey, KeyDirectory, KeySecret, Membership

if TYPE_CHECKING:
    from accounts.domain.callers import Caller

PREFIX = "qs_live_"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARS = 34  # 34 × log2(62) = 202 random bits
CHECKSUM_CHARS = 6  # 62 ** 6 > 2 ** 32: a CRC-32 fits
MAX_LIVE = 100  # of one member: lists stay readable, and a key that leaked cannot fill the tables with more
SHOWN_CHARS = 14  # of a key, in lists: enough to tell keys apart, useless to guess one

_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{30,64}}[0-9A-Za-z]{{{CHECKSUM_CHARS}}}")


def key_is_wellformed(secret: str) -> bool:
    """Whether a string can be one of our keys at all: its shape and checksum. No look-up is made for others."""
    return bool(_SHAPE.fullmatch(secret)) and secret[-CHECKSUM_CHARS:] == _checksum(secret[:-CHECKSUM_CHARS])


def new_secret() -> str:
    """A new random key, with its checksum at the end."""
    body = PREFIX + "".join(secrets.choice(BASE62) for _ in range(RANDOM_CHARS))
    return body + _checksum(body)


def make_key(
    *,
    by: Caller,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    networks: Collection[str] = (),
    limits: Mapping[str, int | None] | None = None,
) -> tuple[ApiKey, str]:
    """Make a key that acts for the caller; its secret is returned once and never stored.

    Runs in the caller's tenant scope. Raises `NotAllowed` when the caller may not make keys, or is a key that the new
    one would exceed; `InvalidField` for an unknown scope, a network that is none, an end that has passed, or a limit
    that is unknown or no positive number; `TooManyKeys`.
    """
    by.require(Right.MAKE_KEYS)
    if by.user is None:
        raise NotAllowed("this credential belongs to no member, so no key can act for them")
    check_scopes(scopes, own=by.scopes)
    check_name(name)
    check_end(expires_at)
    check_limits(limits or {}, allowed=KEY_LIMITS, unlimited=KEY_LIMITS)
    inside = read_networks(networks)
    check_within(by, scopes=scopes, expires_at=expires_at)
    secret = new_secret()
    with transaction.atomic():
        _check_number(by)
        key: ApiKey = ApiKey.objects.create(
            tenant_id=by.tenant,
            user_id=by.user,
            name=name.strip(),
            prefix=secret[:SHOWN_CHARS],
            scopes=sorted(set(scopes)),
            networks=inside,
            limits={name: value for name, value in (limits or {}).items() if value is not None},
            expires_at=expires_at,
        )
        add_secret(key, secret)
        record(
            "key.made", target=f"key:{key.id}", detail={"name": key.name, "scopes": key.scopes, "limits": key.limits}
        )
    return key, secret


def _check_number(by: Caller) -> None:
    """Raise `TooManyKeys`. Whoever asks at the same time waits; whoever was taken out meanwhile gets `NotAllowed`."""
    if Membership.objects.select_for_update().filter(tenant=by.tenant, user=by.user).first() is None:
        # A key that is made now would live again when they come back.
        raise NotAllowed("you are no longer a member of this organisation")
    ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now())
    if ApiKey.objects.filter(user_id=by.user).exclude(ended).count() >= MAX_LIVE:
        raise TooManyKeys(MAX_LIVE)


def list_keys(*, by: Caller, revoked: bool | None = None, cursor: str | None = None, limit: int = 100) -> Page[ApiKey]:
    """The caller's keys with their secrets' ends, newest first; everybody's for who may manage them.

    Raises `NotAllowed`, and `InvalidField` for a cursor that is none.
    """
    require_right(by)
    return _page_of(visible_keys(by), revoked=revoked, cursor=cursor, limit=limit)


def list_own_keys(
    *, by: Caller, revoked: bool | None = None, cursor: str | None = None, limit: int = 100
) -> Page[ApiKey]:
    """What is left to look at for a member whose role has lost the right to keys; raises `InvalidField`."""
    rows = ApiKey.objects.select_related("user").filter(user_id=by.user)
    return _page_of(rows, revoked=revoked, cursor=cursor, limit=limit)


def _page_of(rows: QuerySet[ApiKey], *, revoked: bool | None, cursor: str | None, limit: int) -> Page[ApiKey]:
    if revoked is not None:
        rows = rows.filter(revoked_at__isnull=not revoked)
    return read_page(rows.prefetch_related("secrets"), cursor=cursor, limit=limit)


def find_key(*, by: Caller, key_id: UUID) -> ApiKey:
    """One of the keys that `list_keys` shows; raises `NotFound` and `NotAllowed`."""
    key = visible_keys(by).filter(pk=key_id).first()
    if key is None:
        raise NotFound("no such api key")
    require_right(by)
    return key


def visible_keys(by: Caller) -> QuerySet[ApiKey]:
    """The keys that exist for the caller: other people's do for those who may manage them, and for nobody else."""
    rows = ApiKey.objects.select_related("user")
    return rows if by.has(Right.MANAGE_KEYS) else rows.filter(user_id=by.user)


def require_right(by: Caller) -> None:
    """Raise `NotAllowed` for who may neither make keys nor manage everybody's."""
    if not by.has(Right.MANAGE_KEYS):
        by.require(Right.MAKE_KEYS)


def lock_key(*, by: Caller, key_id: UUID) -> ApiKey:
    """The key's row for a change; raises `NotFound` for one that does not exist for the caller, `NotAllowed`."""
    key = visible_keys(by).select_for_update(of=("self",)).filter(pk=key_id).first()
    if key is None:
        raise NotFound("no such api key")
    require_right(by)
    return key


def check_is_live(key: ApiKey) -> None:
    """Raise `KeyEnded` for a key that was revoked or has come to its end."""
    if not key.is_live:
        raise KeyEnded


def revoke_key(*, by: Caller, key_id: UUID) -> ApiKey:
    """End a key; the next request with it is refused. Revoking it again changes nothing.

    Raises `NotFound` for a key that is not the caller's: only owners and admins see other people's.
    """
    with transaction.atomic():
        key = lock_key(by=by, key_id=key_id)
        if key.revoked_at is None:
            end_keys([key])
            record("key.revoked", target=f"key:{key.id}", detail={"name": key.name})
    return key


def end_keys(keys: Collection[ApiKey]) -> None:
    """Write down that keys, whose rows are locked, have ended now."""
    now = timezone.now()
    for key in keys:
        key.revoked_at = now
    ApiKey.objects.filter(pk__in=[key.pk for key in keys]).update(revoked_at=now)
    drop_secrets(keys)


def hash_secret(secret: str) -> str:
    """What the database keeps of a key or token: its SHA-256 in hexadecimal. (A key has over 200 random bits.)"""
    return sha256(secret.encode()).hexdigest()


def add_secret(key: ApiKey, secret: str) -> None:
    """Let a secret open a key."""
    hashed = hash_secret(secret)
    KeySecret.objects.create(tenant_id=key.tenant_id, key=key, sha256=hashed, prefix=secret[:SHOWN_CHARS])
    KeyDirectory.objects.create(sha256=hashed, tenant_id=key.tenant_id)


def drop_secrets(keys: Collection[ApiKey], which: Q | None = None) -> int:
    """Forget secrets of keys whose rows are locked, all or some; returns how many.

    Without its directory entry a secret is unknown to every process at once. The entry goes last, as in the sweep
    (`accounts/domain/rotate.py`): the other way round the two would wait for each other.
    """
    rows = KeySecret.objects.filter(which or Q(), key__in=keys)
    hashes = list(rows.values_list("sha256", flat=True))
    rows.filter(sha256__in=hashes).delete()
    KeyDirectory.objects.filter(sha256__in=hashes).delete()
    return len(hashes)


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    found = ""
    for _ in range(CHECKSUM_CHARS):
        value, digit = divmod(value, 62)
        found = BASE62[digit] + found
    return found
