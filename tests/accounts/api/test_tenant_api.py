"""/api/v1/tenant and /api/v1/exports."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.domain.exports import finish_export
from accounts.domain.media import write_atomic
from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import Errand, Export, Tenant
from accounts.tenancy import in_tenant
from generation.domain.export import export_path
from tests.accounts.domain.test_logos import picture
from tests.factories import Person, make_key, make_member
from tests.openapi import check, read_schema

TENANT, EXPORTS, ONE = "/api/v1/tenant", "/api/v1/exports", "/api/v1/exports/{export}"
LOGO = "data:image/png;base64," + base64.b64encode(picture()).decode()


@pytest.fixture(scope="module")
def schema(django_db_setup: None) -> dict[str, Any]:
    return read_schema()


@pytest.fixture
def api(alice: Person) -> Client:
    _, secret = make_key(alice.tenant, alice.user, scopes=["admin"])
    return Client(headers={"Authorization": f"Bearer {secret}"})


def patch(client: Client, body: Any) -> Any:
    return client.patch(TENANT, body, content_type="application/json")


def stored(person: Person) -> Tenant:
    with in_tenant(person.tenant.pk):
        return Tenant.objects.get()


def test_read_and_change(api: Client, alice: Person, bob: Person, mallory: Person, media: Path,
                         schema: dict[str, Any]) -> None:  # fmt: skip
    body = {"name": "Lab", "networks": ["127.0.0.1", "2001:DB8::/32"], "logo": LOGO}
    changed = patch(api, body)
    check(schema, "patch", TENANT, changed)
    found = changed.json()
    assert (found["id"], found["name"], found["plan"]) == (str(alice.tenant.pk), "Lab", "default")
    assert found["networks"] == ["127.0.0.1/32", "2001:db8::/32"]
    path = found["logo_url"].removeprefix("http://127.0.0.1:8000")
    for client in (api, alice.client, bob.client, bob.api):
        logo = client.get(path)
        assert (logo.status_code, logo["Content-Type"]) == (200, "image/webp")
        assert logo["Content-Security-Policy"].startswith("default-src 'none'") and "private" in logo["Cache-Control"]
    for client in (mallory.client, mallory.api, Client()):
        assert client.get(path).status_code == 404
    read = bob.api.get(TENANT)
    check(schema, "get", TENANT, read)
    assert read.json() == {**found, "networks": None}, "networks are for who may change them"
    assert patch(api, {"logo": None}).json()["logo_url"] is None
    assert bob.client.get(path).status_code == 404
    assert patch(api, {}).json()["name"] == "Lab"


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        ({"name": ""}, "name", 400), ({"name": "x" * 121}, "name", 400), ({"name": None}, "name", 400),
        ({"networks": ["here"]}, "networks", 400), ({"networks": None}, "networks", 400),
        ({"networks": ["10.0.0.0/8"]}, "networks", 409), ({"name": "New", "networks": ["10.0.0.0/8"]}, "networks", 409),
        ({"name": "New", "logo": "data:image/svg+xml;base64,PHN2Zy8+"}, "logo", 400),
        ({"name": "New", "logo": "data:image/png;base64,!!!!"}, "logo", 400),
        ({"name": "New", "logo": "data:image/png;base64,AAAA"}, "logo", 400),
        ({"name": "New", "logo": "data:image/png;base64,AAAÄ"}, "logo", 400),
        ({"name": "New", "logo": "https://evil.example/logo.png"}, "logo", 400),
        ({"id": "x"}, "id", 400), ({"plan": "gold"}, "plan", 400), ({"suspended_at": None}, "suspended_at", 400),
        ({"limits": {"images_per_day": 10**6}}, "limits", 400), ({"logo_url": "x"}, "logo_url", 400),
    ],
)  # fmt: skip
def test_wrong_bodies_change_nothing(
    api: Client, alice: Person, media: Path, schema: dict[str, Any], body: dict[str, Any], field: str, status: int
) -> None:
    answer = patch(api, body)
    check(schema, "patch", TENANT, answer)
    assert answer.status_code == status and any(name.split(".")[0] == field for name in answer.json()["errors"])
    row = stored(alice)
    assert (row.name, row.networks, row.logo) == ("A", [], "")
    assert list(media.rglob("*.webp")) == []


def test_members_change_nothing(alice: Person, bob: Person) -> None:
    for client in (bob.client, bob.api, alice.api):
        assert patch(client, {"name": "New"}).status_code == 403
    assert stored(alice).name == "A"


def test_export_by_program(api: Client, alice: Person, bob: Person, mallory: Person, media: Path,
                           schema: dict[str, Any]) -> None:  # fmt: skip
    asked = api.post(EXPORTS, {}, content_type="application/json")
    check(schema, "post", EXPORTS, asked)
    export = asked.json()
    assert (asked.status_code, export["status"], export["url"]) == (202, "waiting", None)
    again = api.post(EXPORTS, {}, content_type="application/json")
    check(schema, "post", EXPORTS, again)
    assert (again.status_code, again.json()["code"]) == (409, "export_under_way")
    with in_tenant(alice.tenant.pk):
        path = export_path(alice.tenant.pk, export["id"])
        write_atomic(path, b"zip")
        finish_export(export["id"], file=path, size=3, done=0)
    ready = api.get(f"{EXPORTS}/{export['id']}")
    check(schema, "get", ONE, ready)
    url = ready.json()["url"].removeprefix("http://127.0.0.1:8000")
    check(schema, "get", EXPORTS, api.get(EXPORTS))
    assert api.get(EXPORTS).json()["results"] == [ready.json()]

    file = api.get(url)
    assert (file.status_code, b"".join(file.streaming_content)) == (200, b"zip")
    assert file["Content-Disposition"].startswith('attachment; filename="qwenstudio-export-')
    assert (file["Content-Type"], file["Cache-Control"]) == ("application/zip", "private, no-store")
    assert alice.client.get(url).status_code == 200
    admin = make_member(alice.tenant, Role.ADMIN)
    _, secret = make_key(alice.tenant, admin, scopes=["admin"])
    for client in (alice.api, bob.client, bob.api, mallory.client, Client(), Client(headers={"X-Api-Key": secret})):
        assert client.get(url).status_code == 404
    (media / path).unlink()
    assert api.get(url).status_code == 404


def test_exports_are_for_owners(alice: Person, bob: Person, mallory: Person, api: Client) -> None:
    for client in (bob.client, bob.api, alice.api):
        assert client.post(EXPORTS, {}, content_type="application/json").status_code == 403
        assert client.get(EXPORTS).status_code == 403
    assert api.post(EXPORTS, {"all": True}, content_type="application/json").status_code == 400
    with in_tenant(alice.tenant.pk):
        assert not Export.objects.exists() and not Errand.objects.exists()
    theirs = mallory.client.post(EXPORTS, {}, content_type="application/json").json()["id"]
    answers = [api.get(f"{EXPORTS}/{identity}") for identity in (theirs, uuid7())]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
