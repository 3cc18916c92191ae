"""Every operation without credentials, with a bad or too small key, and with each role: as the table of rights has it.

What is refused changes nothing; what is allowed is answered as it should be.
"""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.domain.roles import Right
from accounts.domain.tenants import suspend_tenant
from accounts.enums import Role, Scope
from tests.factories import Person
from tests.matrix.asking import Stored, code_of, difference, send
from tests.matrix.house import KINDS, House, with_key
from tests.matrix.routes import all_routes
from tests.matrix.table import OPERATIONS, PERSONAL, Op

ALL = pytest.mark.parametrize("operation", OPERATIONS)
API = pytest.mark.parametrize("operation", [name for name, op in OPERATIONS.items() if op.by_key])


def own_ids(house: House, person: Person, op: Op) -> dict[tuple[str, str], object]:
    """Ids with which a good call goes through."""
    needed = {place: spot for place, spot in op.spots.items() if spot.exists and not spot.optional}
    return {place: KINDS[spot.kind].make(house, person) for place, spot in needed.items()}


def begin_anew(house: House, op: Op) -> None:
    """Where a call begins something of which there is one at a time."""
    if op.once:
        house.look("DELETE FROM accounts_export RETURNING 1")
        house.look("UPDATE accounts_tenant SET delete_after = NULL WHERE delete_after IS NOT NULL RETURNING 1")


def refuse(
    house: House, stored: Stored, client: Client, operation: str, person: Person, statuses: tuple[int, ...]
) -> None:
    """The call is refused with one of these, and nothing is changed by it."""
    op = OPERATIONS[operation]
    ids = own_ids(house, person, op)
    client.get("/account/")  # its session is noted
    before = stored.now()
    answer = send(client, operation, op, ids)
    assert answer.status_code in statuses, answer.content[:300]
    if op.by_key and answer.status_code == 401:
        assert code_of(answer) in ("not_signed_in", "invalid_api_key")
        assert "WWW-Authenticate" in answer
    elif op.by_key and answer.status_code == 403:
        assert code_of(answer) == "not_allowed"
    elif answer.status_code == 302:
        assert answer["Location"].startswith("/sign-in/")
    assert difference(before, stored.now()) == []


@ALL
def test_without_good_credentials(house: House, stored: Stored, operation: str) -> None:
    """None at all, a key that is none, a session that another site uses."""
    op = OPERATIONS[operation]
    refuse(house, stored, Client(), operation, house.alice, op.anonymous)
    if op.by_key:
        end = "A" if house.alice.secret[-1] != "A" else "B"
        wrong = house.alice.secret[:-1] + end
        for headers in ({"Authorization": f"Bearer {wrong}"}, {"Authorization": "Token x"}, {"X-Api-Key": wrong}):
            refuse(house, stored, Client(headers=headers), operation, house.alice, op.anonymous)
    else:  # a page: the best key there is says no more than nobody
        refuse(house, stored, house.person(Role.OWNER).api, operation, house.alice, op.anonymous)
    if not operation.startswith("GET"):
        client = Client(enforce_csrf_checks=True)
        client.force_login(house.alice.user)
        refuse(house, stored, client, operation, house.alice, (403,))


@ALL
def test_by_role(house: House, stored: Stored, operation: str) -> None:
    op = OPERATIONS[operation]
    for role in Role:
        person = house.person(role)
        for client in (person.client, person.api) if op.by_key else (person.client,):
            right = op.right if client is person.client else op.key_right or op.right
            if right is not None and not right.is_held_by(role):
                refuse(house, stored, client, operation, person, op.denied)
            else:
                answer = send(client, operation, op, own_ids(house, person, op))
                assert answer.status_code == op.ok, (role, answer.content[:300])
                begin_anew(house, op)


@API
def test_by_scope(house: House, stored: Stored, operation: str) -> None:
    """A key with the one scope that is needed, and one with another scope only."""
    op = OPERATIONS[operation]
    owner = house.person(Role.OWNER)
    right = op.key_right or op.right or Right.SEE_IMAGES
    exact = with_key(house.alice.tenant, owner.user, scopes=(right.scope.value,))
    answer = send(exact.api, operation, op, own_ids(house, exact, op))
    assert answer.status_code == op.ok, answer.content[:300]
    if op.key_right or op.right:
        other = Scope.SENTIMENT if right.scope is not Scope.SENTIMENT else Scope.CHAT
        small = with_key(house.alice.tenant, owner.user, scopes=(other.value,))
        refuse(house, stored, small.api, operation, small, op.denied)


@pytest.mark.parametrize("operation", [name for name, op in OPERATIONS.items() if not op.of_person])
def test_of_a_suspended_tenant(house: House, stored: Stored, operation: str) -> None:
    op = OPERATIONS[operation]
    ids = own_ids(house, house.alice, op)
    house.alice.client.get("/account/")
    suspend_tenant(house.alice.tenant, reason="the matrix")
    before = stored.now()
    for client in (house.alice.client, house.alice.api) if op.by_key else (house.alice.client,):
        assert send(client, operation, op, ids).status_code in {403, *op.suspended}
    assert difference(before, stored.now()) == []


PERSONAL_OPERATIONS = [operation for route in all_routes() if route.path in PERSONAL for operation in route.operations]


@pytest.mark.parametrize("operation", PERSONAL_OPERATIONS)
def test_pages_of_a_person_are_for_people(house: House, stored: Stored, operation: str) -> None:
    """Nobody and a program's key are led to the sign-in page; another site's form is refused."""
    method, _, path = operation.partition(" ")
    before = stored.now()
    for client in (Client(), house.alice.api):
        answer = client.generic(method, path)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/sign-in/")
    if method != "GET":
        client = Client(enforce_csrf_checks=True)
        client.force_login(house.alice.user)
        client.get("/account/")
        before = stored.now()
        assert client.generic(method, path).status_code == 403
    assert difference(before, stored.now()) == []
