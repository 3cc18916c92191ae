"""Ids and words that travel in headers and cursors: another tenant's are worth nothing, and tell nothing."""

from __future__ import annotations

from uuid import uuid4

from accounts.enums import Role
from accounts.ids import uuid7
from generation.domain.remove import remove_generation
from tests.factories import Person
from tests.generation.api.calls import BODY, IMAGES, finish, rows, submit, submitted
from tests.matrix.asking import shape_of
from tests.matrix.house import House


def test_an_idempotency_key_is_its_callers_own(house: House) -> None:
    """Same word, same body: another tenant, another member and another key of the same member each get their own."""
    bob = house.person(Role.MEMBER)
    first = submit(house.alice, {"Idempotency-Key": "the-same"})
    for person in (house.mallory, bob):
        answer = submit(person, {"Idempotency-Key": "the-same"})
        assert (answer.status_code, "Idempotency-Replayed" in answer) == (202, False)
        assert answer.json()["id"] != first.json()["id"]
        # Nor does another body tell that the word is taken elsewhere.
    assert submit(house.mallory, {"Idempotency-Key": "of alice"}, prompt="x").status_code == 202
    assert submit(house.alice, {"Idempotency-Key": "of alice"}, prompt="y").status_code == 202
    session = house.alice.client.post(
        IMAGES, BODY, content_type="application/json", headers={"Idempotency-Key": "the-same"}
    )
    assert (session.status_code, "Idempotency-Replayed" in session) == (202, False)
    replayed = submit(house.alice, {"Idempotency-Key": "the-same"})
    assert (replayed.json()["id"], replayed["Idempotency-Replayed"]) == (first.json()["id"], "true")
    assert len(rows(house.mallory)) == 2


def test_an_idempotency_key_of_something_deleted_is_new(house: House) -> None:
    from accounts.tenancy import in_tenant

    first = submit(house.alice, {"Idempotency-Key": "again"}).json()["id"]
    finish(house.alice, first, house.media)
    with in_tenant(house.alice.tenant.pk):
        remove_generation(first)
    answer = submit(house.alice, {"Idempotency-Key": "again"})
    assert (answer.status_code, "Idempotency-Replayed" in answer) == (202, False)


def test_a_last_event_id_of_anybodys_changes_nothing_for_foreign_work(house: House) -> None:
    foreign = submitted(house.mallory)
    for path in (f"{IMAGES}/{foreign}/events", f"{IMAGES}/{uuid7()}/events"):
        shapes = {
            shape_of(house.alice.api.get(path, headers={"Last-Event-ID": seen} if seen else {}))
            for seen in ("", "0-0", "1764028800000-0", str(foreign), "x")
        }
        assert {shape.status for shape in shapes} == {404}
        assert len(shapes) == 1
    own = submitted(house.alice)
    assert house.alice.api.get(f"{IMAGES}/{own}/events", headers={"Last-Event-ID": "0-0"}).status_code == 200


def test_a_known_hash_opens_no_foreign_file(house: House) -> None:
    generation = submitted(house.mallory)
    image = finish(house.mallory, generation, house.media)
    paths = [f"/files/{id}{part}" for id in (image.pk, uuid4()) for part in ("", "/thumbnail", "/receipt")]
    for path in paths:
        for tag in ("*", f'"{image.sha256}"', f'W/"{image.sha256}"', f'"{image.sha256}-t"'):
            assert house.alice.api.get(path, headers={"If-None-Match": tag}).status_code == 404
    assert house.mallory.api.get(paths[0], headers={"If-None-Match": f'"{image.sha256}"'}).status_code == 304


def test_a_foreign_cursor_shows_ones_own_rows_only(house: House) -> None:
    for person in (house.alice, house.mallory):
        for number in range(3):
            submitted(person, prompt=f"{person.tenant.name} {number}")
    theirs = house.mallory.api.get(f"{IMAGES}?limit=1").json()["next"].partition("?")[2]
    for client in (house.alice.api, house.alice.client):
        found = client.get(f"{IMAGES}?{theirs}").json()["results"]
        assert {one["prompt"][0] for one in found} <= {house.alice.tenant.name}


def test_two_credentials_are_never_mixed(house: House) -> None:
    """One of them counts, for everything; a bad one is not made good by the other."""
    submitted(house.alice, prompt="alices")
    submitted(house.mallory, prompt="mallorys")

    def tenant(person: Person, headers: dict[str, str]) -> set[str]:
        found = person.client.get("/api/v1/me", headers=headers)
        if found.status_code != 200:
            return {found.json()["code"]}
        prompts = {one["prompt"] for one in person.client.get(IMAGES, headers=headers).json()["results"]}
        return {found.json()["tenant"]["id"], *prompts}

    alice, mallory = house.alice, house.mallory
    both = {"Authorization": f"Bearer {alice.secret}", "X-Api-Key": mallory.secret}
    assert tenant(mallory, both) == {str(alice.tenant.pk), "alices"}
    assert tenant(alice, {"X-Api-Key": mallory.secret}) == {str(mallory.tenant.pk), "mallorys"}
    assert tenant(alice, {"Authorization": "Bearer qs_live_x"}) == {"invalid_api_key"}
    assert tenant(alice, {"Authorization": "Bearer qs_live_x", "X-Api-Key": alice.secret}) == {"invalid_api_key"}
