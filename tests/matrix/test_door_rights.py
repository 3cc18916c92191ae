"""The rights to what the async door serves alone: two operations without a route of Django's, where the matrix looks.

Each is asked without credentials, with a bad key, by each role (with a key that has the one scope, with one that has
all of the role's, by a page), with another scope only, from another site and for a suspended tenant. What is refused
reaches no upstream, costs nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from accounts.domain.roles import Right
from accounts.domain.tenants import suspend_tenant
from accounts.enums import Role, Scope
from qwenstudio.door.app import Door
from qwenstudio.door.described import DOOR_PATHS
from tests.factories import Person
from tests.generation.chat.scripted import Script, Served, hello
from tests.generation.chat.test_moodasking import choosing
from tests.matrix.asking import Stored, difference
from tests.matrix.house import House, with_key
from tests.matrix.table import OPEN, OPERATIONS
from tests.qwenstudio.doors import page_headers
from tests.qwenstudio.memorybooks import MemoryBooks
from tests.qwenstudio.test_door_chat import HI, ask, play

Headers = Mapping[str, str]


@dataclass(frozen=True)
class DoorOp:
    """An operation: its right, a good body, an upstream for it, and whether pages may ask too."""

    right: Right
    body: Mapping[str, Any]
    script: Script
    by_page: bool


DOOR = {
    "POST /v1/chat/completions": DoorOp(Right.CHAT, HI, hello, by_page=False),
    "POST /api/v1/sentiment": DoorOp(Right.SENTIMENT, {"text": "so good"}, choosing(), by_page=True),
}
ALL = pytest.mark.parametrize("operation", DOOR)


def test_every_operation_of_the_door_alone_has_an_entry() -> None:
    assert {f"{method.upper()} {path}" for path, found in DOOR_PATHS.items() for method in found} == DOOR.keys()
    assert not DOOR.keys() & (OPERATIONS.keys() | OPEN.keys()), "the matrix has it"


def by_key(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def by_page(person: Person) -> Headers:
    person.client.get("/account/")  # its session is noted
    return page_headers(person)


class Asker:
    """Asks one operation at a door, and says whether the upstream was asked for it."""

    def __init__(self, operation: str, door: Door, books: MemoryBooks, served: Served) -> None:
        self.op, self.path = DOOR[operation], operation.partition(" ")[2]
        self.door, self.books, self.served = door, books, served

    async def allow(self, headers: Headers) -> None:
        before = len(self.served.asked), len(self.books.settled)
        answer = await ask(self.door, None, self.op.body, path=self.path, **headers)
        assert answer.status == 200, answer.json
        assert len(self.served.asked) > before[0] and len(self.books.settled) == before[1] + 1

    async def refuse(self, headers: Headers, status: int, code: str) -> None:
        before = len(self.served.asked), len(self.books.settled)
        answer = await ask(self.door, None, self.op.body, path=self.path, **headers)
        body = answer.json
        assert (answer.status, body.get("error", body)["code"]) == (status, code), body
        assert ("www-authenticate" in answer.headers) is (status == 401)
        assert (len(self.served.asked), len(self.books.settled)) == before


@ALL
def test_by_credentials_role_and_scope(house: House, stored: Stored, redis: Redis, operation: str) -> None:
    op = DOOR[operation]
    owner = house.person(Role.OWNER)
    wrong = house.alice.secret[:-1] + ("A" if house.alice.secret[-1] != "A" else "B")
    bad: list[Headers] = [by_key(wrong), {"Authorization": "Token x"}, {"X-Api-Key": wrong}]
    other = Scope.SENTIMENT if op.right.scope is not Scope.SENTIMENT else Scope.CHAT
    denied = [by_key(with_key(house.alice.tenant, owner.user, scopes=(other.value,)).secret)]
    allowed: list[Headers] = []
    for role in Role:
        person = house.person(role, scopes=(op.right.scope.value,))
        whole = with_key(house.alice.tenant, person.user)
        may = allowed if op.right.is_held_by(role) else denied
        may += [by_key(person.secret), by_key(whole.secret)]
        (may if op.by_page else denied).append(by_page(person))
    page = by_page(owner)
    foreign = [{**page, "Origin": "https://evil.example"}, {**page, "X-CSRFToken": "x" * 64}]
    assert len(allowed) >= 2 * 3 and len(denied) >= 1 + 2
    before = stored.now()

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        asker = Asker(operation, door, books, served)
        await asker.refuse({}, 401, "not_signed_in")
        for headers in bad:
            await asker.refuse(headers, 401, "invalid_api_key")
        for headers in (*denied, *foreign):
            await asker.refuse(headers, 403, "not_allowed")
        assert difference(before, stored.now()) == []
        for headers in allowed:
            await asker.allow(headers)

    play(scene, op.script)


@ALL
def test_of_a_suspended_tenant(house: House, stored: Stored, redis: Redis, operation: str) -> None:
    op = DOOR[operation]
    asking = [
        (by_key(house.person(Role.OWNER, scopes=(op.right.scope.value,)).secret), "tenant_suspended"),
        (by_page(house.alice), "tenant_suspended" if op.by_page else "not_allowed"),
    ]
    suspend_tenant(house.alice.tenant, reason="the matrix")
    before = stored.now()

    async def scene(door: Door, books: MemoryBooks, served: Served) -> None:
        for headers, code in asking:
            await Asker(operation, door, books, served).refuse(headers, 403, code)
        assert difference(before, stored.now()) == []

    play(scene, op.script)
