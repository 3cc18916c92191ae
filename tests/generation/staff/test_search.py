"""One box leads staff to the thing: by request id, e-mail, the beginning of a key, an id, a name."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.ids import uuid7
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_user

PROMPT = "a secret lighthouse"


@pytest.fixture
def asked(alice: Person) -> tuple[UUID, str]:
    """A generation and the request that made it."""
    offer_sleeping_model()
    body = {"model": "demo", "prompt": PROMPT, "width": 64, "height": 64}
    answer = alice.api.post("/api/v1/images", body, content_type="application/json")
    assert answer.status_code == 202
    return UUID(answer.json()["id"]), answer["X-Request-ID"]


def leads(client: Client, term: str) -> str:
    answer = client.get("/admin/search/", {"q": term})
    assert answer.status_code == 302, answer.content.decode()
    return str(answer["Location"])


def test_a_request_leads_to_its_generation_and_its_events(
    staff: Client, alice: Person, asked: tuple[UUID, str]
) -> None:
    generation, request = asked
    assert leads(staff, request) == f"/admin/generation/generation/{generation}/change/"
    assert leads(staff, str(UUID(request))) == leads(staff, request)  # with dashes too
    request = alice.client.post(f"/keys/{alice.key.pk}/revoke/")["X-Request-ID"]
    url = leads(staff, request)
    assert url == f"/admin/accounts/auditevent/?request_id={request}"
    assert "key.revoked" in staff.get(url).content.decode()


def test_ids_lead_to_their_rows(staff: Client, alice: Person, asked: tuple[UUID, str]) -> None:
    assert leads(staff, str(asked[0])) == f"/admin/generation/generation/{asked[0]}/change/"
    assert leads(staff, f" {alice.tenant.pk} ") == f"/admin/accounts/tenant/{alice.tenant.pk}/change/"
    assert leads(staff, str(alice.user.pk)) == f"/admin/accounts/user/{alice.user.pk}/change/"
    assert leads(staff, str(alice.key.pk)) == f"/admin/accounts/tenant/{alice.tenant.pk}/change/"


def test_an_address_and_a_name(staff: Client, alice: Person, mallory: Person) -> None:
    assert leads(staff, alice.user.email.upper()) == f"/admin/accounts/user/{alice.user.pk}/change/"
    assert (
        f"/admin/accounts/user/{alice.user.pk}/change/"
        in staff.get("/admin/search/", {"q": "@example.com"}).content.decode()
    )
    assert leads(staff, "mallory") == f"/admin/accounts/user/{mallory.user.pk}/change/"


def test_a_key_leads_to_its_tenant_and_is_not_repeated_whole(staff: Client, alice: Person) -> None:
    assert leads(staff, alice.key.prefix) == f"/admin/accounts/tenant/{alice.tenant.pk}/change/"
    url = leads(staff, alice.secret)
    assert url == f"/admin/search/?q={alice.key.prefix}"
    assert leads(staff, alice.key.prefix[:12]).endswith(f"{alice.tenant.pk}/change/")


@pytest.mark.parametrize(
    "term",
    ["", "nobody@nowhere.example", pytest.param(str(uuid7()), id="an id"), "qs_live_zzz", "%", "'\"<b>", "a\x00b"],
)
def test_nothing_is_said_so(staff: Client, alice: Person, term: str) -> None:
    answer = staff.get("/admin/search/", {"q": term})
    assert answer.status_code == 200
    assert "<b>" not in answer.content.decode()


def test_it_finds_only_what_one_may_look_at(alice: Person, asked: tuple[UUID, str]) -> None:
    helper = make_user("helper", is_staff=True)
    client = Client()
    client.force_login(helper)
    for term in (alice.user.email, str(asked[0]), asked[1], alice.key.prefix, str(alice.tenant.pk)):
        assert client.get("/admin/search/", {"q": term}).status_code == 200
    helper.user_permissions.add(Permission.objects.get(codename="view_user"))
    assert leads(client, alice.user.email).endswith(f"/user/{alice.user.pk}/change/")
    assert client.get("/admin/search/", {"q": str(asked[0])}).status_code == 200
    assert alice.client.get("/admin/search/", {"q": "x"}).status_code == 302


def test_no_prompt_is_shown(staff: Client, alice: Person, asked: tuple[UUID, str]) -> None:
    alice.api.post(
        "/api/v1/images",
        {"model": "demo", "prompt": PROMPT, "width": 64, "height": 64},
        content_type="application/json",
    )
    assert PROMPT not in staff.get("/admin/search/", {"q": "A"}).content.decode()
    assert staff.get("/admin/search/", {"q": PROMPT}).status_code == 200
