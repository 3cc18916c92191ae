"""/files/: the picture for its tenant, nothing for anybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.ids import uuid7
from accounts.tenancy import in_tenant
from generation.domain.receipts import receipt_is_ours
from generation.models import Image, Receipt
from tests.factories import Person, make_key
from tests.generation.api.calls import finish, submitted


@pytest.fixture
def image(alice: Person, media: Path) -> Image:
    return finish(alice, submitted(alice), media)


def body_of(answer: Any) -> bytes:
    return answer.getvalue() if answer.streaming else answer.content


def test_tenant_gets_its_picture(alice: Person, bob: Person, image: Image, media: Path) -> None:
    stored = (media / image.file).read_bytes()
    for client in (alice.api, alice.client, bob.client):
        answer = client.get(f"/files/{image.pk}")
        assert answer.status_code == 200
        assert body_of(answer) == stored
        assert answer["Content-Type"] == "image/png"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer["Content-Security-Policy"]
        assert answer["Cache-Control"] == "private, max-age=31536000, immutable"
        assert answer["Content-Disposition"].startswith("inline; filename=")
    thumbnail = alice.client.get(f"/files/{image.pk}/thumbnail")
    assert thumbnail["Content-Type"] == "image/webp"
    assert body_of(thumbnail) == (media / image.thumbnail).read_bytes()


def test_download_has_a_name_of_its_own(alice: Person, image: Image) -> None:
    answer = alice.client.get(f"/files/{image.pk}?download=1")
    assert answer["Content-Disposition"].startswith('attachment; filename="qwenstudio-')
    assert answer["Content-Disposition"].endswith('.png"')
    assert "meadow" not in answer["Content-Disposition"]  # prompts stay out of headers and logs


def test_known_picture_is_not_sent_again(alice: Person, image: Image) -> None:
    etag = alice.client.get(f"/files/{image.pk}")["ETag"]
    answer = alice.client.get(f"/files/{image.pk}", headers={"If-None-Match": f'"other", {etag}'})
    assert (answer.status_code, answer.content) == (304, b"")
    assert alice.client.get(f"/files/{image.pk}/thumbnail", headers={"If-None-Match": etag}).status_code == 200


def test_receipt_says_how_it_was_made(alice: Person, bob: Person, image: Image) -> None:
    answer = bob.api.get(f"/files/{image.pk}/receipt")
    assert answer.status_code == 200
    found = answer.json()
    assert found["receipt"]["seed"] == image.seed
    assert receipt_is_ours(found["receipt"], found["signature"])
    assert not receipt_is_ours(found["receipt"] | {"seed": image.seed + 1}, found["signature"])
    with in_tenant(alice.tenant.pk):
        Receipt.objects.all().delete()
    assert alice.api.get(f"/files/{image.pk}/receipt").status_code == 404


@pytest.mark.parametrize("suffix", ["", "/thumbnail", "/receipt"])
def test_everybody_else_gets_the_answer_of_a_file_that_is_not_there(
    alice: Person, mallory: Person, image: Image, suffix: str
) -> None:
    _, without_scope = make_key(alice.tenant, alice.user, scopes=["usage:read"])
    asking = [
        mallory.client, mallory.api, Client(), Client(headers={"X-Api-Key": "qs_live_nonsense"}),
        Client(headers={"X-Api-Key": without_scope}),
    ]  # fmt: skip
    answers = [client.get(f"/files/{image.pk}{suffix}") for client in asking]
    answers.append(alice.client.get(f"/files/{uuid7()}{suffix}"))
    bodies = [
        {name: value for name, value in answer.json().items() if name not in ("request_id", "instance")}
        for answer in answers
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)


def test_known_etag_opens_nothing(mallory: Person, image: Image) -> None:
    assert mallory.client.get(f"/files/{image.pk}", headers={"If-None-Match": "*"}).status_code == 404


def test_row_that_points_outside_is_not_followed(alice: Person, image: Image, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for name in (str(secret), "../../../../etc/hostname", "gone.png"):
        with in_tenant(alice.tenant.pk):
            Image.objects.filter(pk=image.pk).update(file=name)
        assert alice.client.get(f"/files/{image.pk}").status_code == 404


def test_nginx_sends_it_where_a_prefix_is_set(alice: Person, image: Image, settings: Any) -> None:
    settings.STUDIO_ACCEL_PREFIX = "/protected/"
    answer = alice.client.get(f"/files/{image.pk}")
    assert answer["X-Accel-Redirect"] == f"/protected/{image.file}"
    assert answer["Content-Type"] == "image/png"
    assert answer.content == b""
    refused = Client().get(f"/files/{image.pk}")
    assert "X-Accel-Redirect" not in refused


def test_server_sends_it_where_it_can(alice: Person, image: Image, media: Path) -> None:
    answer = alice.client.get(f"/files/{image.pk}", **{"studio.sendfile": True})
    assert answer["X-Studio-Sendfile"] == str((media / image.file).resolve())
    assert int(answer["Content-Length"]) == image.bytes


def test_only_reading(alice: Person, image: Image) -> None:
    assert alice.client.post(f"/files/{image.pk}").status_code == 405
    head = alice.client.head(f"/files/{image.pk}")
    assert (head.status_code, body_of(head)) == (200, b"")
