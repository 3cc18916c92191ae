"""The rows that the matrix asks for: each kind can be made for a person, and lost again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.test import Client
from django.utils import timezone
from PIL import Image as Picture

from accounts.domain.callers import caller_of_key, caller_of_member
from accounts.domain.stored import move_stored
from accounts.enums import ExportStatus, Role, Scope
from accounts.ids import uuid7
from accounts.models import Export, Invitation, Tenant, User
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.remove import remove_generation
from generation.enums import Act, SelectionStatus
from generation.errors import AlreadyFinished
from generation.models import Image, InputFile, PromptRule, Selection, Style
from tests.factories import Person, make_key, make_member, make_tenant, make_user
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

Make = Callable[[House, Person], object]


@dataclass(frozen=True)
class Kind:
    """How a row comes and goes, as its id. A personal one is its member's: others of the tenant do not see it.

    `lose` makes an id that is gone; `unknown` are ids that never were.
    """

    make: Make
    lose: Make
    personal: bool = False
    unknown: Callable[[], list[object]] = lambda: [uuid4(), UUID(int=uuid7().int + (1 << 100)), UUID(int=0)]


def _waiting(house: House, owner: Person) -> UUID:
    return submit(owner.caller)


def _ended(house: House, owner: Person) -> UUID:
    generation = submit(owner.caller)
    finish(owner, generation, house.media)
    return generation


def _image(house: House, owner: Person) -> UUID:
    generation = submit(owner.caller)
    return UUID(str(finish(owner, generation, house.media).pk))


_numbers = count()


def _input(house: House, owner: Person, *, kind: str = "picture") -> UUID:
    """A stored input, each another one: the same bytes would be the same row."""
    number = next(_numbers)
    picture = Picture.new("RGB", (64, 64), (number % 256, number // 256 % 256, 7))
    if kind == "mask":
        picture = Picture.new("L", (64, 64), 255)
        picture.putpixel((number % 64, number // 64 % 64), 0)
    row = InputFile(id=uuid7(), tenant_id=owner.tenant.pk, kind=kind, width=64, height=64, unused_since=timezone.now())
    row.file = f"{owner.tenant.pk}/inputs/{row.pk}.png"
    file = house.media / row.file
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)
    row.sha256, row.bytes = sha256(file.read_bytes()).hexdigest(), file.stat().st_size
    with in_tenant(owner.tenant.pk):
        row.save(force_insert=True)
        move_stored(tenant=owner.tenant.pk, size=row.bytes)
    return UUID(str(row.pk))


def _mask(house: House, owner: Person) -> UUID:
    return _input(house, owner, kind="mask")


def _removed(make: Make) -> Make:
    def lose(house: House, owner: Person) -> object:
        id = make(house, owner)
        with in_tenant(owner.tenant.pk):
            found = Image.objects.filter(pk=id).values_list("generation_id", flat=True).first()
            with suppress(AlreadyFinished):
                cancel_generation(UUID(str(found or id)))
            remove_generation(UUID(str(found or id)))
        return id

    return lose


def _deleted(make: Make, *tables: tuple[str, str]) -> Make:
    """Made, and deleted from the database: where the domain itself deletes nothing, or nothing but with its tenant."""

    def lose(house: House, owner: Person) -> object:
        id = make(house, owner)
        for table, column in tables:
            house.look(f"DELETE FROM {table} WHERE {column} = %s RETURNING 1", id)
        return id

    return lose


def _key(house: House, owner: Person) -> UUID:
    return UUID(str(_key_of(owner.tenant, owner.user, (Scope.KEYS_WRITE.value,))[0].pk))


def _member(house: House, owner: Person) -> UUID:
    return make_member(owner.tenant).pk


def _invitation(house: House, owner: Person) -> UUID:
    with in_tenant(owner.tenant.pk):
        ends = timezone.now() + timedelta(days=1)
        row = Invitation.objects.create(tenant_id=owner.tenant.pk, email=fresh_email(), expires_at=ends)
    return UUID(str(row.pk))


def _export(house: House, owner: Person) -> UUID:
    file = f"{owner.tenant.pk}/exports/{uuid7().hex}.zip"
    (house.media / file).parent.mkdir(parents=True, exist_ok=True)
    (house.media / file).write_bytes(b"zip")
    with in_tenant(owner.tenant.pk):
        ends = timezone.now() + timedelta(days=1)
        row = Export.objects.create(
            tenant_id=owner.tenant.pk, status=ExportStatus.READY, file=file, bytes=3, expires_at=ends
        )
    return UUID(str(row.pk))


def _zip(house: House, owner: Person) -> UUID:
    file = f"{owner.tenant.pk}/zips/{uuid7().hex}/pictures.zip"
    (house.media / file).parent.mkdir(parents=True, exist_ok=True)
    (house.media / file).write_bytes(b"zip")
    ends = timezone.now() + timedelta(days=1)
    return _selection(owner, act=Act.ZIP, status=SelectionStatus.READY, file=file, bytes=3, expires_at=ends)


def _deletion(house: House, owner: Person) -> UUID:
    return _selection(owner, act=Act.DELETE, status=SelectionStatus.DONE)


def _style(house: House, owner: Person) -> UUID:
    with in_tenant(owner.tenant.pk):
        row = Style.objects.create(tenant_id=owner.tenant.pk, name=fresh_email(), prompt="a {prompt}")
    return UUID(str(row.pk))


def _rule(house: House, owner: Person) -> UUID:
    with in_tenant(owner.tenant.pk):
        row = PromptRule.objects.create(tenant_id=owner.tenant.pk, text=fresh_email())
    return UUID(str(row.pk))


def _selection(owner: Person, **fields: Any) -> UUID:
    with in_tenant(owner.tenant.pk):
        row = Selection.objects.create(tenant_id=owner.tenant.pk, requested_by=owner.user.pk, **fields)
    return UUID(str(row.pk))


def _logo(house: House, owner: Person) -> UUID:
    """Every logo has the same name here, so that a foreign tenant's id is wrong by itself."""
    file = f"{owner.tenant.pk}/{LOGO}"
    (house.media / file).parent.mkdir(parents=True, exist_ok=True)
    (house.media / file).write_bytes(b"RIFF")
    with in_tenant(owner.tenant.pk):
        Tenant.objects.filter(pk=owner.tenant.pk).update(logo=file)
    return owner.tenant.pk


def _lost_logo(house: House, owner: Person) -> UUID:
    tenant, user = make_tenant("Gone")
    _logo(house, with_key(tenant, user))
    for table in ("accounts_keydirectory", "accounts_membership", "accounts_keysecret", "accounts_apikey"):
        house.look(f"DELETE FROM {table} WHERE tenant_id = %s RETURNING 1", tenant.pk)
    house.look("UPDATE accounts_auditevent SET tenant_id = NULL WHERE tenant_id = %s RETURNING 1", tenant.pk)
    house.look("DELETE FROM accounts_tenant WHERE id = %s RETURNING 1", tenant.pk)
    return tenant.pk


def _place(house: House, owner: Person) -> UUID:
    """A further tenant that the person belongs to."""
    tenant, _ = make_tenant("Further")
    make_member(tenant, user=owner.user)
    return tenant.pk


def _closing(house: House, owner: Person) -> UUID:
    """A tenant of the person's that is about to be deleted."""
    tenant, _ = make_tenant("Closing", owner=owner.user)
    house.look(
        "UPDATE accounts_tenant SET delete_after = now() + interval '1 day' WHERE id = %s RETURNING 1", tenant.pk
    )
    return tenant.pk


def _gone(make: Make) -> Make:
    """A tenant of which nothing is left."""

    def lose(house: House, owner: Person) -> object:
        id = make(house, owner)
        house.look("UPDATE accounts_auditevent SET tenant_id = NULL WHERE tenant_id = %s RETURNING 1", id)
        house.look("DELETE FROM accounts_membership WHERE tenant_id = %s RETURNING 1", id)
        house.look("DELETE FROM accounts_tenant WHERE id = %s RETURNING 1", id)
        return id

    return lose


def _session(house: House, owner: Person) -> int:
    client = Client()
    client.force_login(owner.user)
    client.get("/account/")
    key = client.cookies["studio_session"].value
    return int(house.look("SELECT id FROM usersessions_usersession WHERE session_key = %s", key)[0][0])


def _never(house: House, owner: Person) -> UUID:
    """Something that no tenant can have yet."""
    return uuid7()


def fresh_email() -> str:
    """An address that nobody has."""
    return f"{uuid7().hex[-12:]}@example.com"


LOGO = "logo-matrix.webp"
KINDS: dict[str, Kind] = {
    "waiting": Kind(_waiting, _removed(_waiting)),
    "ended": Kind(_ended, _removed(_ended)),
    "image": Kind(_image, _removed(_image)),
    "input": Kind(_input, _deleted(_input, ("generation_inputfile", "id"))),
    "mask": Kind(_mask, _deleted(_mask, ("generation_inputfile", "id"))),
    "key": Kind(_key, _deleted(_key, ("accounts_keysecret", "key_id"), ("accounts_apikey", "id")), personal=True),
    "member": Kind(_member, _deleted(_member, ("accounts_membership", "user_id"))),
    "invitation": Kind(_invitation, _deleted(_invitation, ("accounts_invitation", "id"))),
    "export": Kind(_export, _deleted(_export, ("accounts_export", "id"))),
    "zip": Kind(_zip, _deleted(_zip, ("generation_selection", "id")), personal=True),
    "deletion": Kind(_deletion, _deleted(_deletion, ("generation_selection", "id")), personal=True),
    "style": Kind(_style, _deleted(_style, ("generation_style", "id"))),
    "rule": Kind(_rule, _deleted(_rule, ("generation_promptrule", "id"))),
    "logo": Kind(_logo, _lost_logo),
    "session": Kind(
        _session,
        _deleted(_session, ("usersessions_usersession", "id")),
        personal=True,
        unknown=lambda: [2**31 - 1, 10**15, 0],
    ),
    "place": Kind(_place, _gone(_place)),
    "closing": Kind(_closing, _gone(_closing)),
    "webhook": Kind(_never, _never),
}
