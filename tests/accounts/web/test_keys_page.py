"""The page of API keys."""

from __future__ import annotations

import re

import pytest

from accounts.models import ApiKey
from accounts.tenancy import in_tenant
from tests.factories import Person


def test_a_key_is_shown_once_and_works(alice: Person) -> None:
    answer = alice.client.post("/keys/", {"name": "ci", "scopes": ["images:read"]})
    assert answer.status_code == 201
    secret = re.search(r"qs_live_\w{30,}", answer.content.decode())
    assert secret is not None
    assert answer.content.decode().count(secret.group()) == 3  # itself, and in the two samples
    assert "no-store" in answer["Cache-Control"]
    assert secret.group() not in alice.client.get("/keys/").content.decode()
    with in_tenant(alice.tenant.pk):
        key = ApiKey.objects.get(name="ci")
    assert key.scopes == ["images:read"]
    found = alice.client.__class__(headers={"Authorization": f"Bearer {secret.group()}"}).get("/api/v1/me")
    assert (found.status_code, found.json()["scopes"]) == (200, ["images:read"])

    alice.client.post(f"/keys/{key.pk}/revoke/")
    again = alice.client.__class__(headers={"Authorization": f"Bearer {secret.group()}"}).get("/api/v1/me")
    assert again.status_code == 401


def test_refusals_stand_beside_their_field(alice: Person) -> None:
    answer = alice.client.post("/keys/", {"name": "", "scopes": []})
    assert answer.status_code == 400
    assert answer.content.decode().count("field-error") == 2
    assert alice.client.post("/keys/", {"name": "x", "scopes": ["admin"]}).status_code == 400
    with in_tenant(alice.tenant.pk):
        assert ApiKey.objects.count() == 1  # the fixture's own


def test_members_see_their_own_owners_see_all(alice: Person, bob: Person, mallory: Person) -> None:
    bob.client.post("/keys/", {"name": "bobs key", "scopes": ["images:read"]})
    assert "bobs key" in alice.client.get("/keys/").content.decode()
    assert alice.key.prefix not in bob.client.get("/keys/").content.decode()
    assert "bobs key" not in mallory.client.get("/keys/").content.decode()
    assert mallory.client.post(f"/keys/{bob.key.pk}/revoke/").status_code == 404
    assert bob.client.post(f"/keys/{alice.key.pk}/revoke/").status_code == 404
    with in_tenant(alice.tenant.pk):
        assert not ApiKey.objects.exclude(revoked_at=None).exists()


def test_key_with_limits(alice: Person) -> None:
    form = {"name": "ci", "scopes": ["images:read"], "images_per_day": "20", "networks": "192.0.2.0/24, 2001:db8::/32"}
    answer = alice.client.post("/keys/", {**form, "expires_on": "2999-12-31"})
    assert answer.status_code == 201
    with in_tenant(alice.tenant.pk):
        key = ApiKey.objects.get(name="ci")
    assert (key.limits, key.networks) == ({"images_per_day": 20}, ["192.0.2.0/24", "2001:db8::/32"])
    assert key.expires_at.isoformat().startswith("2999-12-31T23:59:59")
    assert "images_per_day ≤ 20" in answer.content.decode()


@pytest.mark.parametrize(
    ("field", "value"), [("images_per_day", "0"), ("max_steps", "many"), ("expires_on", "soon"), ("networks", "here")]
)
def test_wrong_limit_is_refused_and_the_form_kept_open(alice: Person, field: str, value: str) -> None:
    answer = alice.client.post("/keys/", {"name": "ci", "scopes": ["images:read"], field: value})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "field-error" in page or "notice-error" in page
    assert '<details class="more" open>' in page
    with in_tenant(alice.tenant.pk):
        assert not ApiKey.objects.filter(name="ci").exists()
