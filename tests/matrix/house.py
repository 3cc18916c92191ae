"""The rows that the matrix asks for: each kind can be made for a person, and lost again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.test import Client

from accounts.domain.callers import caller_of_key, caller_of_member
from accounts.enums import Role, Scope
from accounts.ids import uuid7
from accounts.models import Tenant, User
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.remove import remove_generation
from generation.errors import AlreadyFinished
from tests.factories import Person, make_key, make_member, make_user
from tests.generation.api.calls import finish
from tests.generation.domain.desk import submit

Look = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True)
class House:
    """Two tenants and what a test needs to furnish them. `look` sees every row, as the administrator."""

    alice: Person
    mallory: Person
    media: Path
    look: Look

    def person(self, role: Role, *, scopes: tuple[str, ...] | None = None) -> Person:
        """Somebody new in Alice's tenant, with a key of these scopes (all that the role has where none are named)."""
        user = make_user(role.value) if role is Role.OWNER else None
        user = make_member(self.alice.tenant, role, user=user)
        return with_key(self.alice.tenant, user, scopes=scopes)


def with_key(tenant: Tenant, user: User, *, scopes: tuple[str, ...] | None = None) -> Person:
    """A person with a session and a key; whoever may not make one (a viewer) got it before."""
    caller = caller_of_member(user_id=user.pk, tenant_id=tenant.pk)
    key, secret = _key_of(tenant, user, scopes or tuple(caller.scopes))
    client = Client()
    client.force_login(user)
    return Person(
        user=user,
        tenant=tenant,
        caller=caller,
        client=client,
        api=Client(headers={"Authorization": f"Bearer {secret}"}),
        key=key,
        secret=secret,
        key_caller=caller_of_key(secret, address=None),
    )


def _key_of(tenant: Tenant, user: User, scopes: tuple[str, ...]) -> tuple[Any, str]:
    """Made while the person is an owner: what a key may do ends where its member's role ends, at every request."""
    from accounts.models import Membership

    held = Membership.objects.get(tenant=tenant, user=user)
    role, held.role = held.role, Role.OWNER
    held.save()
    try:
        return make_key(tenant, user, scopes=scopes)
    finally:
        held.role = role
        held.save()


# ---- kinds of rows

Make = Callable[[House, Person], UUID]


@dataclass(frozen=True)
class Kind:
    """How a row comes and goes. A personal one is its member's: others of the tenant do not see it."""

    make: Make
    lose: Callable[[House, Person, UUID], None]
    personal: bool = False


def _waiting(house: House, owner: Person) -> UUID:
    return submit(owner.caller)


def _ended(house: House, owner: Person) -> UUID:
    generation = submit(owner.caller)
    finish(owner, generation, house.media)
    return generation


def _image(house: House, owner: Person) -> UUID:
    generation = submit(owner.caller)
    return UUID(str(finish(owner, generation, house.media).pk))


def _lose_generation(house: House, owner: Person, id: UUID) -> None:
    with in_tenant(owner.tenant.pk):
        with suppress(AlreadyFinished):
            cancel_generation(id)
        remove_generation(id)


def _lose_image(house: House, owner: Person, id: UUID) -> None:
    _lose_generation(house, owner, house.look("SELECT generation_id FROM generation_image WHERE id = %s", id)[0][0])


def _key(house: House, owner: Person) -> UUID:
    return UUID(str(_key_of(owner.tenant, owner.user, (Scope.KEYS_WRITE.value,))[0].pk))


def _lose_key(house: House, owner: Person, id: UUID) -> None:
    """Keys are never deleted, only revoked; their member may be."""
    for table, column in (("accounts_keysecret", "key_id"), ("accounts_apikey", "id")):
        house.look(f"DELETE FROM {table} WHERE {column} = %s RETURNING 1", id)


def _never(house: House, owner: Person) -> UUID:
    """Something that no tenant can have yet."""
    return uuid7()


KINDS: dict[str, Kind] = {
    "waiting": Kind(_waiting, _lose_generation),
    "ended": Kind(_ended, _lose_generation),
    "image": Kind(_image, _lose_image),
    "key": Kind(_key, _lose_key, personal=True),
    "webhook": Kind(_never, lambda house, owner, id: None),
}
