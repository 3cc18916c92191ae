"""Signed links to one picture: good for an hour, for that picture, while its tenant lets their holder in."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core import signing
from django.test import Client
from django.utils import timezone

from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import links
from generation.domain.links import LINK_S, make_link, tenant_of_link
from generation.domain.remove import remove_generation
from generation.models import Image
from tests.factories import Person
from tests.generation.api.calls import finish, submitted


@pytest.fixture
def image(alice: Person, media: Path) -> Image:
    return finish(alice, submitted(alice), media)


def path_of(person: Person, image: Image) -> str:
    parts = urlsplit(make_link(tenant=person.tenant.pk, image=image.pk))
    return f"{parts.path}?{parts.query}"


def test_a_link_needs_no_credential(alice: Person, image: Image, media: Path) -> None:
    answer = Client().get(path_of(alice, image))
    assert answer.status_code == 200
    assert answer.getvalue() == (media / image.file).read_bytes()
    assert answer["Content-Type"] == "image/png"
    assert answer["Cache-Control"] == "private, max-age=300"
    assert answer["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "sandbox" in answer["Content-Security-Policy"]


def test_a_link_opens_one_picture_only(alice: Person, mallory: Person, image: Image, media: Path) -> None:
    query = path_of(alice, image).partition("?")[2]
    other = finish(alice, submitted(alice), media)
    foreign = finish(mallory, submitted(mallory), media)
    missing = Client().get(f"/files/{image.pk}")
    for path in (
        f"/files/{other.pk}?{query}",
        f"/files/{foreign.pk}?{query}",
        f"/files/{image.pk}/thumbnail?{query}",
        f"/files/{image.pk}/receipt?{query}",
        path_of(mallory, image),  # signed, but not theirs
    ):
        answer = Client().get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert answer.headers.get("Cache-Control") == missing.headers.get("Cache-Control")


def test_it_ends_after_an_hour(alice: Person, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(alice, image)
    now = timezone.now().timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + LINK_S - 5)
    assert Client().get(path).status_code == 200
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + LINK_S + 5)
    assert Client().get(path).status_code == 404


@pytest.mark.parametrize("token", ["", "x", "{}x", "x{}", "’", "a:b:c"])
def test_a_forged_one_opens_nothing(alice: Person, image: Image, token: str) -> None:
    real = path_of(alice, image).partition("token=")[2]
    assert Client().get(f"/files/{image.pk}", {"token": token.format(real)}).status_code == 404


@pytest.mark.parametrize("content", [[], {}, "x", [1, 2], ["x", "y"], None])
def test_signed_nonsense_opens_nothing(image: Image, content: object) -> None:
    token = signing.dumps(content, salt=links._SALT)
    assert tenant_of_link(token, image=image.pk) is None
    assert Client().get(f"/files/{image.pk}", {"token": token}).status_code == 404


def test_a_link_of_another_salt_is_none(alice: Person, image: Image) -> None:
    token = signing.dumps([alice.tenant.pk.hex, image.pk.hex], salt="studio.pass")
    assert Client().get(f"/files/{image.pk}", {"token": token}).status_code == 404


def test_it_opens_nothing_that_its_tenant_has_lost(alice: Person, image: Image) -> None:
    path = path_of(alice, image)
    fields = [{"suspended_at": timezone.now()}, {"delete_after": timezone.now()}, {"networks": ["192.0.2.0/24"]}]
    for change in fields:
        with across_tenants():
            Tenant.objects.filter(pk=alice.tenant.pk).update(**change)
        assert Client().get(path).status_code == 404, change
        with across_tenants():
            Tenant.objects.filter(pk=alice.tenant.pk).update(suspended_at=None, delete_after=None, networks=[])
        assert Client().get(path).status_code == 200
    with in_tenant(alice.tenant.pk):
        remove_generation(image.generation_id)
    assert Client().get(path).status_code == 404


def test_the_link_alone_counts(alice: Person, mallory: Person, image: Image) -> None:
    """A good credential does not mend a bad link, and another tenant's does not spoil a good one."""
    assert alice.api.get(f"/files/{image.pk}?token=x").status_code == 404
    assert mallory.api.get(path_of(alice, image)).status_code == 200
    assert mallory.client.get(path_of(alice, image)).status_code == 200


def test_the_studio_lets_only_its_networks_in(alice: Person, image: Image, settings: object) -> None:
    import ipaddress

    settings.STUDIO_NETWORKS = [ipaddress.ip_network("192.0.2.0/24")]  # type: ignore[attr-defined]
    assert Client().get(path_of(alice, image)).status_code == 404
