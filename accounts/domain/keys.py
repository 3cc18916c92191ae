"""API keys: how they look, how they are made, how they end."""

from __future__ import annotations

import ipaddress
import re
import secrets
import zlib
from collections.abc import Collection, Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.limits import KEY_LIMITS, KeyLimits, check_limits
from accounts.enums import Scope
from accounts.errors import InvalidField, NotAllowed, NotFound
from accounts.models import ApiKey, KeyDirectory, KeySecret

if TYPE_CHECKING:
    from accounts.domain.callers import Caller

PREFIX = "qs_live_"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARS = 34  # 34 × log2(62) = 202 random bits
CHECKSUM_CHARS = 6  # 62 ** 6 > 2 ** 32: a CRC-32 fits
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
    limits: Mapping[str, int] | None = None,
) -> tuple[ApiKey, str]:
    """Make a key that acts for the caller; its secret is returned once and never stored.

    Runs in the caller's tenant scope. Raises `NotAllowed` when the caller may not make keys, is a key that is itself
    limited, or asks for a scope that is not their own; `InvalidField` for an unknown scope, a network that is none, an
    end that has passed, or a limit that is unknown or no positive number.
    """
    if not by.may(Scope.KEYS_WRITE) or by.user is None:
        raise NotAllowed("your role may not make api keys; ask an admin of your tenant")
    if by.networks or by.key_limits != KeyLimits():
        raise NotAllowed("a key with limits or networks of its own cannot make keys without them; sign in to make one")
    _check_scopes(scopes, own=by.scopes)
    if not name.strip() or len(name) > 80:
        raise InvalidField("name must have 1 to 80 characters", field="name")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidField("expires_at must lie in the future", field="expires_at")
    for network in networks:
        _check_network(network)
    check_limits(limits or {}, allowed=KEY_LIMITS)
    secret = new_secret()
    with transaction.atomic():
        key: ApiKey = ApiKey.objects.create(
            tenant_id=by.tenant,
            user_id=by.user,
            name=name.strip(),
            prefix=secret[:SHOWN_CHARS],
            scopes=sorted(scopes),
            networks=list(networks),
            limits=dict(limits or {}),
            expires_at=expires_at,
        )
        hashed = sha256(secret.encode()).hexdigest()
        KeySecret.objects.create(tenant_id=by.tenant, key=key, sha256=hashed)
        KeyDirectory.objects.create(sha256=hashed, tenant_id=by.tenant)
        record(
            "key.made", target=f"key:{key.id}", detail={"name": key.name, "scopes": key.scopes, "limits": key.limits}
        )
    return key, secret


def revoke_key(*, by: Caller, key_id: UUID) -> ApiKey:
    """End a key; the next request with it is refused. Revoking it again changes nothing.

    Raises `NotFound` for a key that is not the caller's: only owners and admins see other people's.
    """
    with transaction.atomic():
        keys = ApiKey.objects.select_for_update().filter(pk=key_id)
        if not by.may(Scope.ADMIN):
            keys = keys.filter(user_id=by.user)
        key: ApiKey | None = keys.first()
        if key is None:
            raise NotFound("no such api key")
        if not by.may(Scope.KEYS_WRITE):
            raise NotAllowed("your role may not revoke api keys; ask an admin of your tenant")
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            # Without its directory entries a revoked key is unknown to every process at once.
            hashes = KeySecret.objects.filter(key=key).values_list("sha256", flat=True)
            KeyDirectory.objects.filter(tenant_id=key.tenant_id, sha256__in=list(hashes)).delete()
            record("key.revoked", target=f"key:{key.id}")
    return key


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    found = ""
    for _ in range(CHECKSUM_CHARS):
        value, digit = divmod(value, 62)
        found = BASE62[digit] + found
    return found


def _check_scopes(scopes: Collection[str], *, own: frozenset[str]) -> None:
    if not scopes:
        raise InvalidField("scopes must name at least one scope", field="scopes")
    for scope in scopes:
        if scope not in Scope.values:
            raise InvalidField(f"unknown scope {scope[:40]!r}; use some of {', '.join(Scope.values)}", field="scopes")
        if scope not in own:
            raise NotAllowed(f"a key cannot have the scope {scope}, which you do not have yourself")


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise InvalidField(
            f"{network[:60]!r} is no IP network; write 192.0.2.0/24 or 2001:db8::/32", field="networks"
        ) from None
