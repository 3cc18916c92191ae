"""Changing a key: its name, limits, networks, end, and fewer scopes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from django.db import transaction

from accounts.domain.addresses import read_networks
from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.keybounds import check_end, check_lower, check_name, check_narrows, check_scopes, check_within
from accounts.domain.keys import check_is_live, lock_key
from accounts.domain.limits import KEY_LIMITS, check_limits
from accounts.enums import Scope
from accounts.errors import NotAllowed
from accounts.models import ApiKey


class KeyChanges(TypedDict, total=False):
    """What is to be another; whatever is left out stays. `limits` changes those it names, and `None` takes one off."""

    name: str
    scopes: Collection[str]
    networks: Collection[str]
    limits: Mapping[str, int | None]
    expires_at: datetime | None


def change_key(*, by: Caller, key_id: UUID, changes: KeyChanges) -> ApiKey:
    """Change a key, all of it or nothing; the next request with it meets the new values.

    Its member, signed in, may do anything but add scopes. Everybody else (an admin, another key, the key itself) may
    only narrow it. Raises `NotFound`, `NotAllowed`, `KeyEnded`, `InvalidField`.
    """
    with transaction.atomic():
        key = lock_key(by=by, key_id=key_id)
        check_is_live(key)
        before = _values(key)
        _apply(key, changes, by=by)
        after = _values(key)
        changed = [name for name in after if after[name] != before[name]]
        if changed:
            key.save(update_fields=changed)
            detail = {name: [_plain(before[name]), _plain(after[name])] for name in changed}
            record("key.changed", target=f"key:{key.id}", detail=detail)
    return key


def _apply(key: ApiKey, changes: KeyChanges, *, by: Caller) -> None:
    """Check every wish before the first is put into the row."""
    is_own = key.user_id == by.user
    if by.key is not None and by.key != key.pk:
        check_within(by, scopes=key.scopes, expires_at=key.expires_at)
    name = changes.get("name", key.name)
    if name != key.name:
        check_name(name)
        if not is_own:
            raise NotAllowed("only the member for whom a key acts can rename it", field="name")
    scopes = changes.get("scopes", key.scopes)
    if set(scopes) != set(key.scopes):
        check_scopes(scopes, own=by.scopes if is_own else frozenset(Scope.values))
        check_lower(key, scopes)
    networks = read_networks(changes["networks"]) if "networks" in changes else key.networks
    limits = _merged(key.limits, changes.get("limits", {}))
    expires_at = changes.get("expires_at", key.expires_at)
    if expires_at != key.expires_at:
        check_end(expires_at)
    if by.key is not None or not is_own:
        check_narrows(key, networks=networks, limits=limits, expires_at=expires_at)
    key.name, key.scopes, key.networks = name.strip(), sorted(set(scopes)), networks
    key.limits, key.expires_at = limits, expires_at


def _merged(stored: Mapping[str, Any], wanted: Mapping[str, int | None]) -> dict[str, Any]:
    check_limits(wanted, allowed=KEY_LIMITS, unlimited=KEY_LIMITS)
    return {name: value for name, value in {**stored, **wanted}.items() if value is not None}


def _values(key: ApiKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in ("name", "scopes", "networks", "limits", "expires_at")}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
