"""/api/v1/members: what the page of the team can do, by program, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import AuditEvent, Membership
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key, make_member
from tests.openapi import check, read_schema

MEMBERS, ONE = "/api/v1/members", "/api/v1/members/{member}"


@pytest.fixture(scope="module")
def schema(django_db_setup: None) -> dict[str, Any]:
    return read_schema()


@pytest.fixture
def api(alice: Person) -> Client:
    """Alice's key with the scope `admin`."""
    _, secret = make_key(alice.tenant, alice.user, scopes=["admin"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


def patch(client: Client, member: Any, body: Any) -> Any:
    return client.patch(f"{MEMBERS}/{member}", body, content_type="application/json")


def roles(person: Person) -> dict[Any, str]:
    return dict(Membership.objects.filter(tenant=person.tenant).values_list("user_id", "role"))


def test_list_one_change_and_removal(
    alice: Person, bob: Person, api: Client, schema: dict[str, Any], mallory: Person
) -> None:
    page = api.get(f"{MEMBERS}?limit=1")
    check(schema, "get", MEMBERS, page)
    (row,) = page.json()["results"]
    assert (row["id"], row["email"], row["role"]) == (str(bob.user.pk), bob.user.email, "member")
    rest = api.get(page.json()["next"].partition("//")[2].partition("/")[2].join(["/", ""]))
    assert [row["email"] for row in rest.json()["results"]] == [alice.user.email]

    one = api.get(f"{MEMBERS}/{bob.user.pk}")
    check(schema, "get", ONE, one)
    assert one.json() == row
    changed = patch(api, bob.user.pk, {"role": "viewer"})
    check(schema, "patch", ONE, changed)
    assert changed.json()["role"] == "viewer" and roles(alice)[bob.user.pk] == "viewer"
    # Their key keeps what their role still has, with the next request.
    assert bob.api.get("/api/v1/me").json()["scopes"] == ["images:read", "usage:read"]

    gone = api.delete(f"{MEMBERS}/{bob.user.pk}")
    check(schema, "delete", ONE, gone)
    assert bob.user.pk not in roles(alice)
    assert bob.api.get("/api/v1/me").status_code == 401
    assert bob.client.get("/api/v1/me").status_code == 403, "a session without a tenant"
    with in_tenant(alice.tenant.pk):
        last = AuditEvent.objects.filter(action="member.removed").get()
        assert (last.user, last.target) == (alice.user.pk, f"user:{bob.user.pk}") and last.key is not None


def test_foreign_and_random_ids_are_not_there(api: Client, alice: Person, mallory: Person) -> None:
    before = roles(mallory)
    answers = []
    for member in (mallory.user.pk, uuid7()):
        for answer in (api.get(f"{MEMBERS}/{member}"), patch(api, member, {"role": "viewer"}),
                       api.delete(f"{MEMBERS}/{member}")):  # fmt: skip
            assert answer.status_code == 404
            answers.append({**answer.json(), "instance": "", "request_id": ""})
    assert all(answer == answers[0] for answer in answers) and roles(mallory) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "king"}, "role"),
        ({"role": "viewer", "email": "x@example.com"}, "email"),
        ({"role": "viewer", "tenant": "x"}, "tenant"),
        ({}, "role"),
    ],
)
def test_wrong_bodies_name_their_field(
    api: Client, alice: Person, bob: Person, schema: dict[str, Any], body: dict[str, str], field: str
) -> None:
    answer = patch(api, bob.user.pk, body)
    check(schema, "patch", ONE, answer)
    assert answer.status_code == 400 and list(answer.json()["errors"]) == [field]
    assert roles(alice)[bob.user.pk] == "member"


def test_own_role_last_owner_and_roles_above_ones_own(
    api: Client, alice: Person, bob: Person, schema: dict[str, Any]
) -> None:
    own = patch(api, alice.user.pk, {"role": "member"})
    check(schema, "patch", ONE, own)
    assert (own.status_code, own.json()["code"]) == (403, "own_role")
    last = api.delete(f"{MEMBERS}/{alice.user.pk}")
    check(schema, "delete", ONE, last)
    assert (last.status_code, last.json()["code"]) == (409, "last_owner")
    admin = make_member(alice.tenant, Role.ADMIN)
    _, secret = make_key(alice.tenant, admin, scopes=["admin"])
    theirs = Client(headers={"Authorization": f"Bearer {secret}"})
    for answer in (patch(theirs, bob.user.pk, {"role": "owner"}), patch(theirs, alice.user.pk, {"role": "viewer"}),
                   theirs.delete(f"{MEMBERS}/{alice.user.pk}")):  # fmt: skip
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert roles(alice) == {alice.user.pk: "owner", bob.user.pk: "member", admin.pk: "admin"}


def test_members_and_keys_without_the_scope_see_nothing(alice: Person, bob: Person, mallory: Person) -> None:
    for client in (bob.client, bob.api, alice.api):
        paths = (MEMBERS, f"{MEMBERS}/{alice.user.pk}", f"{MEMBERS}/{uuid7()}")
        for answer in (*map(client.get, paths), client.delete(f"{MEMBERS}/{mallory.user.pk}")):
            assert answer.status_code == 403, "whatever the id is: who may not ask learns nothing"
    assert bob.api.delete(f"{MEMBERS}/{bob.user.pk}").status_code == 403, "a key does not take its member out"
    assert bob.client.delete(f"{MEMBERS}/{bob.user.pk}").status_code == 204, "a person may leave"
    assert list(roles(alice)) == [alice.user.pk]


def test_unknown_parameters_and_methods(api: Client, bob: Person) -> None:
    assert api.get(f"{MEMBERS}?rolle=owner").status_code == 400
    assert api.get(f"{MEMBERS}?cursor=nonsense").status_code == 400
    assert api.post(MEMBERS, {"email": "x"}, content_type="application/json").status_code == 405
