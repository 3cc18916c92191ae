"""What a key may be: its values, and what nobody may give it.

Three rules. A key never has a scope that its member has not. A key that makes or changes keys makes none that exceed
itself. Only the member, signed in, may take limits off a key: whoever else changes it, another key or an admin, may
only narrow it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from accounts.domain.addresses import is_inside
from accounts.domain.limits import KeyLimits
from accounts.enums import Scope
from accounts.errors import InvalidField, NotAllowed
from accounts.models import ApiKey

if TYPE_CHECKING:
    from accounts.domain.callers import Caller

NAME_CHARS = 80


def check_name(name: str) -> None:
    """Raise `InvalidField` unless it is one line of 1 to 80 characters."""
    if not 1 <= len(name.strip()) <= NAME_CHARS or not name.strip().isprintable():
        raise InvalidField(f"name must be one line of 1 to {NAME_CHARS} characters", field="name")


def check_end(expires_at: datetime | None) -> None:
    """Raise `InvalidField` for a moment that has passed."""
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidField("expires_at must lie in the future", field="expires_at")


def check_scopes(scopes: Collection[str], *, own: frozenset[str]) -> None:
    """Raise `InvalidField` for none or an unknown one, `NotAllowed` for one that the caller has not."""
    if not scopes:
        raise InvalidField("scopes must name at least one scope", field="scopes")
    for scope in scopes:
        if scope not in Scope.values:
            raise InvalidField(f"unknown scope {scope[:40]!r}; use some of {', '.join(Scope.values)}", field="scopes")
        if scope not in own:
            raise NotAllowed(f"a key cannot have the scope {scope}, which you do not have yourself", field="scopes")


def check_within(by: Caller, *, scopes: Collection[str], expires_at: datetime | None) -> None:
    """Raise `NotAllowed` where the caller is a key and one with these values would exceed it.

    A key with limits of its own makes and changes no others at all: ten keys with its limits are ten times as much.
    """
    if by.key is None:
        return
    if by.networks or by.key_limits != KeyLimits():
        raise NotAllowed("a key with limits or networks of its own cannot make or change other keys; sign in to do so")
    for scope in sorted(scopes):
        if scope not in by.scopes:
            raise NotAllowed(f"a key cannot make or change a key with the scope {scope}, which it does not have itself")
    if by.key_expires_at is not None and (expires_at is None or expires_at > by.key_expires_at):
        raise NotAllowed(
            f"this key ends at {by.key_expires_at:%Y-%m-%dT%H:%M:%SZ}, and so must the keys that it makes or changes",
            field="expires_at",
        )


def check_lower(key: ApiKey, scopes: Collection[str]) -> None:
    """Raise `NotAllowed` for a scope that the key does not have yet."""
    for scope in sorted(scopes):
        if scope not in key.scopes:
            raise NotAllowed(f"scopes can only be taken from a key; make a new one for {scope}", field="scopes")


def check_narrows(key: ApiKey, *, networks: list[str], limits: Mapping[str, Any], expires_at: datetime | None) -> None:
    """Raise `NotAllowed` where these values would let the key do more than it may now."""
    why = "only its member, signed in, can do that"
    for name, most in key.limits.items():
        if name not in limits or limits[name] > most:
            raise NotAllowed(f"this would take off or raise the key's limit {name}, now {most}; {why}", field="limits")
    if key.networks and not (networks and all(is_inside(network, key.networks) for network in networks)):
        raise NotAllowed(f"this would let the key be used from more networks than now; {why}", field="networks")
    if key.expires_at is not None and (expires_at is None or expires_at > key.expires_at):
        raise NotAllowed(f"this would let the key live longer than now; {why}", field="expires_at")
