"""The one place where a tenant is in scope.

Row-level security in PostgreSQL is the guarantee, the scoped manager below is the courtesy that shows a mistake early.
Both read the same scope: `in_tenant(id)` or `across_tenants()`; outside of both every tenant table refuses to answer.

The scope reaches the database as two session settings, written on every check-out of a connection, on entering a scope
and on leaving it: `app.tenant` (what `app_tenant()` in the policies reads) and `role`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection, models
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from accounts.errors import NoTenant

# Tables that are not a tenant's, each with its reason. A test fails on a table that is neither listed nor protected.
GLOBAL_TABLES = {
    "accounts_user": "directory: a person may belong to several tenants",
    "accounts_user_groups": "directory: Django's staff permissions",
    "accounts_user_user_permissions": "directory: Django's staff permissions",
    "accounts_membership": "directory: which tenants a signed-in person belongs to",
    "accounts_keydirectory": "directory: hash of a key -> its tenant, nothing else",
    "accounts_tokendirectory": "directory: hash of a one-time token -> its user or tenant",
    "accounts_plan": "staff's: the limits that are on offer",
    "generation_model": "staff's: the models that are on offer",
    "generation_pool": "staff's: whether a pool of workers is paused",
    "generation_lane": "staff's: blue and green, and which of them serves",
    "generation_release": "staff's: which release ran in which lane, and what became of it",
    "generation_goldencase": "staff's: pictures by which the lanes are compared; the prompts are staff's own",
    "generation_comparison": "staff's: what a comparison of the lanes found",
    "generation_comparedcase": "staff's: its pictures, drawn for nobody but staff",
    "generation_worker": "staff's: the GPU workers and what they do",
    "generation_fairclock": "the queue's: virtual clocks; names a tenant, holds no data of it",
    "generation_cost": "the queue's: measured milliseconds per model, size and hardware",
    "generation_upstream": "staff's: the servers that answer chat; credentials are sealed",
    "generation_chatmodel": "staff's: the chat models that are on offer",
    "generation_chattarget": "staff's: which upstream answers for which chat model",
    "generation_lora": "staff's: the LoRAs that are on offer",
    "generation_loracost": "the queue's: how much longer an image takes with LoRAs",
    "account_emailaddress": "allauth's: a person's addresses and whether they were verified",
    "account_emailconfirmation": "allauth's: unused, confirmations are signed links",
    "mfa_authenticator": "allauth's: a person's second factors, encrypted",
    "usersessions_usersession": "allauth's: where a person is signed in",
    "auth_group": "Django's",
    "auth_group_permissions": "Django's",
    "auth_permission": "Django's",
    "django_admin_log": "Django's: staff's own changes in the admin",
    "django_content_type": "Django's",
    "django_migrations": "Django's",
    "django_session": "directory: who is signed in",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Either one tenant, or all of them (staff and workers), or (neither) nothing at all."""

    tenant: UUID | None = None
    across: bool = False


NOWHERE = Scope()
_scope: ContextVar[Scope] = ContextVar("tenant_scope", default=NOWHERE)


def current_scope() -> Scope:
    """The scope in force here."""
    return _scope.get()


def current_tenant() -> UUID:
    """The tenant in scope; raises `NoTenant` when there is none."""
    tenant = _scope.get().tenant
    if tenant is None:
        raise NoTenant("no tenant in scope: wrap the call in accounts.tenancy.in_tenant(tenant_id)")
    return tenant


@contextmanager
def in_tenant(tenant: UUID | str) -> Iterator[None]:
    """Everything inside sees one tenant's rows. Nested scopes restore the outer one."""
    with _enter(Scope(tenant=tenant if isinstance(tenant, UUID) else UUID(tenant))):
        yield


@contextmanager
def across_tenants() -> Iterator[None]:
    """Everything inside sees all tenants, under the staff role. The callers are listed in `tests/accounts`."""
    with _enter(Scope(across=True)):
        yield


@contextmanager
def _enter(scope: Scope) -> Iterator[None]:
    token = _scope.set(scope)
    try:
        _write_if_connected()
        yield
    finally:
        _scope.reset(token)
        _write_if_connected()


def _write_if_connected() -> None:
    if connection.connection is None or connection.connection.closed:
        return  # the next check-out writes it
    if connection.connection.info.transaction_status is TransactionStatus.INERROR:
        return  # the rollback that must follow restores what the transaction found
    if connection.in_atomic_block:
        with connection.wrap_database_errors:
            write_scope(connection)
        return
    try:
        write_scope(connection)
    except (psycopg.OperationalError, psycopg.InterfaceError):
        connection.close()  # it broke while nobody looked, and nothing was under way: the next check-out writes it


def write_scope(wrapper: Any) -> None:
    """Write the scope in force into one connection's session settings (one round trip, 0.1 ms locally).

    Raises psycopg's errors, not Django's.
    """
    scope = _scope.get()
    # The worker's role sees all tenants by its own policies and is no member of the staff role.
    role = settings.STAFF_ROLE if scope.across and settings.PROCESS in ("web", "stream") else "none"
    tenant = str(scope.tenant) if scope.tenant else ""
    with wrapper.connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', %s, false), set_config('role', %s, false)", (tenant, role))


def _on_check_out(*, connection: Any, **_: object) -> None:
    # A session setting left by the connection's last borrower must never reach the next one.
    if settings.PROCESS == "owner":
        return
    try:
        write_scope(connection)
    except BaseException:
        connection.close()
        raise


def give_back_connection() -> None:
    """Before something that takes long and asks the database nothing: others need the few that a process has.

    The next statement takes one again. Inside a transaction, and where no pool would take it, nothing happens.
    """
    if "pool" in connection.settings_dict.get("OPTIONS", {}) and not connection.in_atomic_block:
        connection.close()


connection_created.connect(_on_check_out, dispatch_uid="accounts.tenancy")


M = TypeVar("M", bound=models.Model)


class TenantManager(models.Manager[M], Generic[M]):
    """Filters by the tenant in scope; raises `NoTenant` outside of any."""

    def get_queryset(self) -> models.QuerySet[M]:
        rows: models.QuerySet[M] = super().get_queryset()
        scope = _scope.get()
        if scope.across:
            return rows
        return rows.filter(**{self._tenant_field(): current_tenant()})

    def _tenant_field(self) -> str:
        return "pk" if self.model._meta.label == "accounts.Tenant" else "tenant_id"
