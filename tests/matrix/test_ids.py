"""Every operation × place of an id × {foreign, deleted, random, none at all}: one and the same answer, and no change.

The control, which uses one's own id, goes through. The operations are those of the URLconf (`test_complete.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from django.test import Client

from accounts.enums import Role
from tests.factories import Person
from tests.matrix.asking import Shape, Stored, difference, send, shape_of, tell_apart
from tests.matrix.house import KINDS, House
from tests.matrix.table import OPERATIONS, Op, Spot

SPOTS = [
    pytest.param(operation, place, id=f"{operation} {place[0]}:{place[1]}")
    for operation, op in OPERATIONS.items()
    for place in op.spots
]
Place = tuple[str, str]


def clients(person: Person, op: Op) -> list[Client]:
    """By key and by session; pages are for people."""
    return [person.api, person.client] if op.by_key else [person.client]


def wrong_ids(house: House, person: Person, spot: Spot) -> Iterator[tuple[str, object]]:
    """Ids that are not the person's, each with its name; every foreign row is fit for a good call of its owner's."""
    kind = KINDS[spot.kind]
    yield "foreign", kind.make(house, house.mallory)
    if kind.personal:
        yield "another member's", kind.make(house, house.alice)
    yield "deleted", kind.lose(house, person)
    yield from ((f"random {number}", id) for number, id in enumerate(kind.unknown()))


def texts(own: object) -> list[str]:
    """What is no id."""
    plain = str(own).replace("-", "") if isinstance(own, UUID) else f"0x{own}"
    return ["x", f"{{{own}}}", plain, f"{own}x", f"{own} ", "’", "a" * 300, "%00", "null", "-1", "self"]


@pytest.mark.parametrize(("operation", "place"), SPOTS)
def test_only_ones_own_id_opens(house: House, stored: Stored, operation: str, place: Place) -> None:
    op = OPERATIONS[operation]
    spot = op.spots[place]
    kind = KINDS[spot.kind]
    # Where rows belong to one member, an admin sees more: whoever asks is a plain member then.
    person = house.person(Role.MEMBER if kind.personal else Role.OWNER)
    others = {
        other: KINDS[it.kind].make(house, person)
        for other, it in op.spots.items()
        if other != place and it.exists and not it.optional
    }
    own = kind.make(house, person)
    wrong = dict(wrong_ids(house, person, spot))
    person.client.get("/account/")  # the session is noted
    before = stored.now()
    for client in clients(person, op):
        answers: dict[str, Shape] = {}
        for name, id in wrong.items():
            answers[name] = shape_of(send(client, operation, op, {**others, place: id}), id)
            if spot.answer == 404:
                assert difference(before, stored.now()) == [], f"{name} has changed something"
        refused = answers["random 0"]
        assert refused.status == spot.answer
        for text in texts(own) if spot.answer == 404 else ():  # a filter takes any text
            answer = send(client, operation, op, {**others, place: text})
            if spot.malformed == spot.answer:
                answers[repr(text)] = shape_of(answer, text)
            else:
                assert answer.status_code == spot.malformed, text
        assert spot.answer != 404 or difference(before, stored.now()) == []
        odd = {name: tell_apart(shape, refused) for name, shape in answers.items() if shape != refused}
        assert not odd, "these ids tell themselves apart from random ones"
    for client in clients(person, op):
        if spot.exists:
            own = kind.make(house, person)
            assert send(client, operation, op, {**others, place: own}).status_code == op.ok, "the control"


@pytest.mark.parametrize(("operation", "place"), [param for param in SPOTS if param.values[1][0] == "path"])
def test_a_foreign_row_still_serves_its_owner(house: House, operation: str, place: Place) -> None:
    """The rows that were refused as foreign were good ones: their own tenant gets what it asks for."""
    op = OPERATIONS[operation]
    ids = {place: KINDS[spot.kind].make(house, house.mallory) for place, spot in op.spots.items() if spot.exists}
    client = house.mallory.client
    assert send(client, operation, op, ids).status_code == op.ok
