"""Who is calling: from a credential to a frozen `Caller`.

The SQL texts are constants with named parameters, so that the async door runs the very same statements over its own
pool. A key costs two of them: the directory (global, outside of any tenant), then everything else in one statement
under the tenant's own policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from accounts.domain.addresses import address_is_in
from accounts.domain.keys import hash_secret, key_is_wellformed
from accounts.domain.limits import (
    PLAN_COLUMNS,
    Budget,
    KeyLimits,
    PlanLimits,
    lower_plan,
    read_budget,
    read_key_limits,
    read_plan,
)
from accounts.domain.roles import ROLE_SCOPES, Right
from accounts.domain.sql import execute, fetch_one
from accounts.enums import Role
from accounts.errors import InvalidKey, NotAllowed, StudioError, TenantClosing, TenantSuspended
from accounts.tenancy import in_tenant


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may act in one tenant. `key` is `None` for a person who is signed in."""

    tenant: UUID
    user: UUID | None
    role: str
    scopes: frozenset[str]
    key: UUID | None
    plan: PlanLimits
    tenant_name: str
    networks: tuple[str, ...] = ()  # of the key
    tenant_networks: tuple[str, ...] = ()
    key_limits: KeyLimits = field(default_factory=KeyLimits)
    key_expires_at: datetime | None = None
    budget: Budget = field(default_factory=Budget)  # of the member
    keeps_chats: bool = False  # whether the tenant keeps the words of chat calls
    stored_bytes: int = 0

    def may(self, scope: str) -> bool:
        """Whether the caller holds a scope."""
        return scope in self.scopes

    def require_scope(self, scope: str) -> None:
        """Raise `NotAllowed` unless the caller holds a scope."""
        if not self.may(scope):
            whose = "key" if self.key else "role"
            raise NotAllowed(f"this needs the scope {scope}, which your {whose} does not have")

    def has(self, right: Right) -> bool:
        """Whether the caller's role holds a right, and a key its scope too."""
        return right.is_held_by(self.role) and right.scope.value in self.scopes

    def require(self, right: Right) -> None:
        """Raise `NotAllowed` unless the caller has a right."""
        if not right.is_held_by(self.role):
            whom = "an owner" if right.weakest == Role.OWNER else "an owner or admin"
            raise NotAllowed(f"your role may not {right.title}; ask {whom} of your organisation")
        self.require_scope(right.scope.value)


_PLAN_COLUMNS = ", ".join(f"p.{name} AS plan_{name}" for name in PLAN_COLUMNS)
_TENANT_COLUMNS = """t.id AS tenant_id, t.name AS tenant_name, t.suspended_at IS NOT NULL AS suspended, t.delete_after,
       t.networks AS tenant_networks, t.limits AS tenant_limits, t.stored_bytes, t.keeps_chats,
       b.limits AS member_limits"""
_BUDGET_JOIN = "LEFT JOIN accounts_memberbudget b ON b.tenant_id = t.id AND b.user_id = m.user_id"

# Parameters: sha256. Runs without a tenant in scope.
KEY_DIRECTORY_SQL = "SELECT tenant_id FROM accounts_keydirectory WHERE sha256 = %(sha256)s"

# Parameters: tenant, sha256. Runs in the tenant's scope. Expired and revoked keys, and those of people who have left,
# give no row at all.
KEY_CALLER_SQL = f"""
SELECT {_TENANT_COLUMNS}, k.id AS key_id, k.user_id, k.scopes, k.networks, k.limits,
       k.expires_at AS key_expires_at, m.role,
       k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS touch,
       {_PLAN_COLUMNS}
  FROM accounts_keysecret s
  JOIN accounts_apikey k ON k.tenant_id = s.tenant_id AND k.id = s.key_id
  JOIN accounts_tenant t ON t.id = s.tenant_id
  JOIN accounts_plan p ON p.id = t.plan_id
  JOIN accounts_membership m ON m.tenant_id = t.id AND m.user_id = k.user_id
  JOIN accounts_user u ON u.id = k.user_id AND u.is_active
  {_BUDGET_JOIN}
 WHERE s.tenant_id = %(tenant)s AND s.sha256 = %(sha256)s
   AND (s.expires_at IS NULL OR s.expires_at > now())
   AND (k.expires_at IS NULL OR k.expires_at > now())
   AND k.revoked_at IS NULL
"""  # noqa: S608  (the plan's column names come from a dataclass)

# Parameters: tenant, user. Runs in the tenant's scope.
MEMBER_CALLER_SQL = f"""
SELECT {_TENANT_COLUMNS}, NULL::uuid AS key_id, m.user_id, NULL::varchar[] AS scopes, NULL::varchar[] AS networks,
       NULL::jsonb AS limits, NULL::timestamptz AS key_expires_at, m.role,
       false AS touch, {_PLAN_COLUMNS}
  FROM accounts_membership m
  JOIN accounts_tenant t ON t.id = m.tenant_id
  JOIN accounts_plan p ON p.id = t.plan_id
  JOIN accounts_user u ON u.id = m.user_id AND u.is_active
  {_BUDGET_JOIN}
 WHERE m.tenant_id = %(tenant)s AND m.user_id = %(user)s
"""  # noqa: S608  (as above)

# Parameters: tenant, user, session (a stamp, accounts/domain/sessions.py). As above, for whoever shows a pass: their
# session must be alive, and the password the one that it was made under.
SESSION_CALLER_SQL = f"""{MEMBER_CALLER_SQL.rstrip()}
   AND EXISTS (
     SELECT FROM usersessions_usersession s
       JOIN django_session d ON d.session_key = s.session_key AND d.expire_date > now()
      WHERE s.user_id = u.id
        AND left(encode(sha256(convert_to(s.session_key || ':' || u.password, 'UTF8')), 'hex'), 32) = %(session)s)
"""

# Parameters: tenant, key, address. The condition keeps parallel requests from writing it more than once a minute.
KEY_TOUCH_SQL = """
UPDATE accounts_apikey SET last_used_at = now(), last_used_ip = %(address)s
 WHERE tenant_id = %(tenant)s AND id = %(key)s
   AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


def caller_of_key(secret: str, *, address: str | None) -> Caller:
    """The caller behind an API key.

    Raises `InvalidKey` (one answer for malformed, unknown, expired and revoked keys) and `NotAllowed` (suspended
    tenant, address outside of the key's networks). A key with a wrong checksum costs no query.
    """
    if not key_is_wellformed(secret):
        raise InvalidKey
    sha256 = hash_secret(secret)
    found = fetch_one(KEY_DIRECTORY_SQL, sha256=sha256)
    if found is None:
        raise InvalidKey
    row = None
    try:
        with in_tenant(found["tenant_id"]):
            row = fetch_one(KEY_CALLER_SQL, tenant=found["tenant_id"], sha256=sha256)
            if row is None:
                raise InvalidKey
            caller = caller_from_row(row)
            check_network(caller, address=address)
            if row["touch"]:
                execute(KEY_TOUCH_SQL, tenant=caller.tenant, key=caller.key, address=address)
    except StudioError as error:
        error.tenant, error.key = found["tenant_id"], row["key_id"] if row else None
        raise
    return caller


def caller_of_member(*, user_id: UUID, tenant_id: UUID) -> Caller:
    """The caller for a signed-in person in one of their tenants; raises `NotAllowed` when it is not theirs.

    Whoever lets people in checks their address with `check_network`.
    """
    with in_tenant(tenant_id):
        row = fetch_one(MEMBER_CALLER_SQL, tenant=tenant_id, user=user_id)
    if row is None:
        raise NotAllowed("you are not a member of this organisation; ask one of its owners to invite you")
    return caller_from_row(row)


def caller_from_row(row: Mapping[str, Any]) -> Caller:
    """A row of `KEY_CALLER_SQL` or `MEMBER_CALLER_SQL` as a caller; raises `NotAllowed` for a tenant that is closed.

    A key's scopes end where its member's role ends, so a key never outlives a demotion. What its own limits lower holds
    for it as if its plan said so.
    """
    if row["suspended"]:
        raise TenantSuspended
    if row["delete_after"] is not None:
        raise TenantClosing(row["delete_after"])
    by_role = ROLE_SCOPES[row["role"]]
    limits = read_key_limits(row["limits"])
    return Caller(
        tenant=row["tenant_id"],
        user=row["user_id"],
        role=row["role"],
        scopes=by_role if row["key_id"] is None else by_role & frozenset(row["scopes"]),
        key=row["key_id"],
        plan=lower_plan(read_plan(row), limits),
        tenant_name=row["tenant_name"],
        networks=tuple(row["networks"] or ()),
        tenant_networks=tuple(row["tenant_networks"] or ()),
        key_limits=limits,
        key_expires_at=row["key_expires_at"],
        budget=read_budget(row["member_limits"]),
        stored_bytes=row["stored_bytes"],
        keeps_chats=row["keeps_chats"],
    )


def check_network(caller: Caller, *, address: str | None) -> None:
    """Raise `NotAllowed` when the client's address is in none of the networks of the key, the tenant or the studio."""
    if not address_is_in(address, caller.networks):
        raise NotAllowed("this api key may not be used from your address")
    if not address_is_in(address, caller.tenant_networks):
        raise NotAllowed("your organisation does not let your address in; ask one of its admins")
    if not address_is_in(address, settings.STUDIO_NETWORKS):
        raise NotAllowed("this studio does not let your address in; ask its operators")
