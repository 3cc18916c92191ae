"""People and tenants for tests: Alice (owner), Bob (member of the same tenant), Mallory (owner of another one)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.keys import make_key as make_domain_key
from accounts.domain.members import add_member
from accounts.domain.tenants import create_tenant
from accounts.enums import Role, Scope
from accounts.ids import uuid7
from accounts.models import ApiKey, Plan, Tenant, User
from accounts.tenancy import in_tenant

WORK_SCOPES = (Scope.IMAGES_READ.value, Scope.IMAGES_WRITE.value, Scope.USAGE_READ.value)


@dataclass(frozen=True)
class Person:
    """A member with everything a test acts with."""

    user: User
    tenant: Tenant
    caller: Caller  # by session
    client: Client  # signed in
    api: Client  # with a key's header
    key: ApiKey
    secret: str
    key_caller: Caller


def make_user(name: str = "someone", **fields: Any) -> User:
    """A user without a usable password (hashing one takes 0.3 s); tests sign in by `force_login`."""
    return User.objects.create_user(f"{name}-{uuid7().hex[-12:]}@example.com", None, name=name, **fields)


def make_plan(**limits: Any) -> Plan:
    """A plan of its own with the given limits."""
    slug = f"plan-{uuid7().hex[-12:]}"
    return Plan.objects.create(slug=slug, title=slug, **limits)


def make_tenant(name: str = "Tenant", *, owner: User | None = None, plan: Plan | None = None) -> tuple[Tenant, User]:
    """A tenant and its owner."""
    owner = owner or make_user("owner")
    return create_tenant(name=name, owner=owner, plan=plan), owner


def make_member(tenant: Tenant, role: Role = Role.MEMBER, *, user: User | None = None) -> User:
    """A person who has joined the tenant."""
    user = user or make_user(role.value)
    with in_tenant(tenant.pk):
        add_member(tenant=tenant.pk, user=user, role=role)
    return user


def make_key(
    tenant: Tenant | UUID, user: User | UUID, *, scopes: Collection[str] = WORK_SCOPES, **fields: Any
) -> tuple[ApiKey, str]:
    """A key that acts for the user, and its secret."""
    tenant_id = tenant.pk if isinstance(tenant, Tenant) else tenant
    caller = caller_of_member(user_id=user.pk if isinstance(user, User) else user, tenant_id=tenant_id)
    with in_tenant(tenant_id):
        return make_domain_key(by=caller, name="test key", scopes=scopes, **fields)


def make_person(tenant: Tenant, user: User) -> Person:
    """Bundle a member with clients and a key."""
    key, secret = make_key(tenant, user)
    client = Client()
    client.force_login(user)
    return Person(
        user=user,
        tenant=tenant,
        caller=caller_of_member(user_id=user.pk, tenant_id=tenant.pk),
        client=client,
        api=Client(headers={"Authorization": f"Bearer {secret}"}),
        key=key,
        secret=secret,
        key_caller=caller_of_key(secret, address=None),
    )


@pytest.fixture
def alice(db: object) -> Person:
    """Owner of tenant A."""
    tenant, owner = make_tenant("A", owner=make_user("alice"))
    return make_person(tenant, owner)


@pytest.fixture
def bob(alice: Person) -> Person:
    """Member of tenant A."""
    return make_person(alice.tenant, make_member(alice.tenant, user=make_user("bob")))


@pytest.fixture
def mallory(db: object) -> Person:
    """Owner of tenant B; must see nothing of A."""
    tenant, owner = make_tenant("B", owner=make_user("mallory"))
    return make_person(tenant, owner)
