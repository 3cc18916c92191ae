"""/api/v1/invitations."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.domain.invitations import accept_invitation
from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import Invitation
from accounts.tenancy import in_tenant
from tests.factories import Person, make_key, make_member, make_user
from tests.mails import invitation_token, waiting_mails
from tests.openapi import check, read_schema

ALL, ONE = "/api/v1/invitations", "/api/v1/invitations/{invitation}"
BODY = {"email": "carol@example.com", "role": "viewer"}


@pytest.fixture(scope="module")
def schema(django_db_setup: None) -> dict[str, Any]:
    return read_schema()


@pytest.fixture
def api(alice: Person) -> Client:
    _, secret = make_key(alice.tenant, alice.user, scopes=["admin"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


def post(client: Client, path: str = ALL, body: Any = None) -> Any:
    return client.post(path, BODY if body is None else body, content_type="application/json")


def rows(person: Person) -> list[dict[str, Any]]:
    with in_tenant(person.tenant.pk):
        return list(Invitation.objects.order_by("id").values())


def test_invite_list_renew_revoke(api: Client, alice: Person, schema: dict[str, Any]) -> None:
    made = post(api)
    check(schema, "post", ALL, made)
    invitation = made.json()
    assert made.status_code == 201 and made["Location"].endswith(f"{ALL}/{invitation['id']}")
    assert (invitation["state"], invitation["role"], invitation["invited_by"]) == ("open", "viewer", str(alice.user.pk))
    token = invitation_token("carol@example.com")
    assert token not in made.content.decode()

    twice = post(api)
    check(schema, "post", ALL, twice)
    assert (twice.status_code, twice.json()["code"]) == (409, "already_invited")

    renewed = post(api, f"{ALL}/{invitation['id']}/renew", {})
    check(schema, "post", f"{ONE}/renew", renewed)
    assert renewed.json()["expires_at"] > invitation["expires_at"]
    assert invitation_token("carol@example.com") != token and len(waiting_mails("invitation")) == 2

    one = api.get(f"{ALL}/{invitation['id']}")
    check(schema, "get", ONE, one)
    page = api.get(ALL)
    check(schema, "get", ALL, page)
    assert page.json()["results"] == [one.json()]

    for _ in range(2):
        gone = api.delete(f"{ALL}/{invitation['id']}")
        check(schema, "delete", ONE, gone)
        assert gone.status_code == 204
    assert api.get(f"{ALL}/{invitation['id']}").json()["state"] == "revoked"
    late = post(api, f"{ALL}/{invitation['id']}/renew", {})
    check(schema, "post", f"{ONE}/renew", late)
    assert (late.status_code, late.json()["code"]) == (409, "invitation_revoked")
    assert post(api).status_code == 201, "and there is room for another one"


def test_accepted_ones_stay(api: Client, alice: Person) -> None:
    carol = make_user("carol")
    made = post(api, body={"email": carol.email}).json()
    assert made["role"] == "member", "the role of who says none"
    accept_invitation(token=invitation_token(carol.email), user=carol)
    answer = api.delete(f"{ALL}/{made['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "invitation_used")
    assert api.get(f"{ALL}/{made['id']}").json()["state"] == "accepted"
    again = post(api, body={"email": carol.email})
    assert (again.status_code, again.json()["code"]) == (409, "already_member")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "member"}, "email"), ({"email": "carol", "role": "member"}, "email"),
        ({"email": "c@example.com", "role": "king"}, "role"), ({**BODY, "tenant": "x"}, "tenant"),
        ({**BODY, "expires_at": "2999-01-01T00:00:00Z"}, "expires_at"), ({**BODY, "state": "accepted"}, "state"),
    ],
)  # fmt: skip
def test_wrong_bodies_send_nothing(api: Client, alice: Person, body: dict[str, str], field: str) -> None:
    answer = post(api, body=body)
    assert answer.status_code == 400 and list(answer.json()["errors"]) == [field]
    assert rows(alice) == [] and waiting_mails() == []


def test_foreign_and_random_ids_are_not_there(api: Client, alice: Person, mallory: Person) -> None:
    _, secret = make_key(mallory.tenant, mallory.user, scopes=["admin"])
    theirs = post(Client(headers={"X-Api-Key": secret})).json()["id"]
    before = rows(mallory)
    answers = []
    for identity in (theirs, uuid7()):
        for answer in (api.get(f"{ALL}/{identity}"), api.delete(f"{ALL}/{identity}"),
                       post(api, f"{ALL}/{identity}/renew", {})):  # fmt: skip
            assert answer.status_code == 404
            answers.append({**answer.json(), "instance": "", "request_id": ""})
    assert all(answer == answers[0] for answer in answers)
    assert rows(mallory) == before and api.get(ALL).json()["results"] == []


def test_who_may_not(alice: Person, bob: Person) -> None:
    admin = make_member(alice.tenant, Role.ADMIN)
    _, secret = make_key(alice.tenant, admin, scopes=["admin"])
    theirs = Client(headers={"X-Api-Key": secret})
    assert post(theirs, body={"email": "o@example.com", "role": "owner"}).status_code == 403
    for client in (bob.client, bob.api, alice.api):
        assert post(client).status_code == client.get(ALL).status_code == 403
    assert rows(alice) == []
    assert post(theirs).status_code == 201
