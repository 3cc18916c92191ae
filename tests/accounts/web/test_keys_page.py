"""The page of API keys."""

from __future__ import annotations

import re

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
