"""/api/v1/zips and /api/v1/deletions: as described, one's own only, and refused by rules that are said."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.domain.errands import claim_errand, run_errand
from accounts.enums import Role
from accounts.tenancy import across_tenants, in_tenant
from generation.models import Generation, Image, Selection
from tests.factories import Person, make_key, make_member
from tests.generation.api.calls import finish, submitted
from tests.openapi import check, read_schema

ZIPS, DELETIONS = "/api/v1/zips", "/api/v1/deletions"
JSON = "application/json"


def post(person: Person, url: str, *ids: object, **more: object) -> Any:
    return person.api.post(url, {"ids": [str(id) for id in ids], **more}, content_type=JSON)


def work() -> None:
    while (claimed := claim_errand("test", slow=True)) is not None:
        assert run_errand(claimed) == "done"


@pytest.fixture
def drawn(media: Path) -> Callable[[Person], UUID]:
    def make(person: Person) -> UUID:
        generation = submitted(person, width=64, height=64)
        finish(person, generation, media)
        return generation

    return make


def test_a_zip_from_asking_to_the_file(alice: Person, media: Path, drawn: Callable[[Person], UUID]) -> None:
    schema = read_schema()
    ids = [drawn(alice), drawn(alice)]
    asked = post(alice, ZIPS, *ids)
    check(schema, "post", ZIPS, asked)
    body = asked.json()
    assert (asked.status_code, body["status"], body["total"], body["url"]) == (202, "waiting", 2, None)
    url = asked["Location"].removeprefix("http://testserver").partition("/api/")[2]
    with across_tenants():
        work()
    answer = alice.api.get(f"/api/{url}")
    check(schema, "get", f"{ZIPS}/{{zip}}", answer)
    body = answer.json()
    assert (body["status"], body["done"]) == ("ready", 2)
    check(schema, "get", ZIPS, alice.api.get(ZIPS))
    file = alice.api.get("/files/" + body["url"].partition("/files/")[2])
    assert (file.status_code, file["Content-Type"], file["Cache-Control"]) == (
        200,
        "application/zip",
        "private, no-store",
    )
    assert file["Content-Disposition"].startswith('attachment; filename="qwenstudio-')
    with zipfile.ZipFile(BytesIO(b"".join(file.streaming_content))) as bundle:
        assert len(bundle.namelist()) == 2 and bundle.testzip() is None


def test_a_deletion_of_a_few(alice: Person, drawn: Callable[[Person], UUID]) -> None:
    schema = read_schema()
    gone, kept = drawn(alice), drawn(alice)
    waiting = submitted(alice)
    answer = post(alice, DELETIONS, gone, waiting)
    check(schema, "post", DELETIONS, answer)
    body = answer.json()
    assert (body["status"], body["done"], body["left"], body["total"]) == ("done", 1, 1, 2)
    check(schema, "get", DELETIONS, alice.api.get(DELETIONS))
    check(schema, "get", f"{DELETIONS}/{{deletion}}", alice.api.get(f"{DELETIONS}/{body['id']}"))
    with in_tenant(alice.tenant.pk):
        assert set(Generation.objects.values_list("pk", flat=True)) == {kept, waiting}
        assert Image.objects.count() == 1
    assert alice.api.get(f"/api/v1/images/{gone}").status_code == 404


@pytest.mark.parametrize("url", [ZIPS, DELETIONS])
def test_refusals(alice: Person, mallory: Person, drawn: Callable[[Person], UUID], url: str) -> None:
    theirs, gone = drawn(mallory), drawn(alice)
    post(alice, DELETIONS, gone)
    for ids in ([theirs], [gone], [uuid4()], ["x"], [""], ["x" * 10_000]):
        answer = post(alice, url, *ids)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    for body, field in (
        ({}, "ids"), ({"ids": []}, "ids"), ({"ids": "x"}, "ids"), ({"ids": [7]}, "ids"), ({"ids": [None]}, "ids"),
        ({"ids": [[]]}, "ids"), ({"ids": ["x"], "status": "done"}, "status"), ({"ids": ["x"] * 10_001}, "ids"),
    ):  # fmt: skip
        answer = alice.api.post(url, body, content_type=JSON)
        assert answer.status_code == 400 and field in answer.json()["errors"], body
    assert "10001" in alice.api.post(url, {"ids": ["x"] * 10_001}, content_type=JSON).json()["detail"]
    assert alice.api.post(url, [], content_type=JSON).status_code == 400
    assert alice.api.get(f"{url}?unheard_of=1").status_code == 400
    with across_tenants():
        assert Selection.objects.exclude(ids=[], status="done").count() == 0  # only the deletion of the beginning
        assert Generation.objects.filter(pk=theirs).exists()


def test_three_zips_at_a_time(alice: Person, drawn: Callable[[Person], UUID]) -> None:
    picture = drawn(alice)
    assert [post(alice, ZIPS, picture).status_code for _ in range(4)] == [202, 202, 202, 409]
    assert post(alice, ZIPS, picture).json()["code"] == "selection_under_way"
    assert post(alice, ZIPS, submitted(alice)).status_code == 409
    with across_tenants():
        work()
    assert post(alice, ZIPS, submitted(alice)).json()["code"] == "no_pictures"


def test_who_may(alice: Person, drawn: Callable[[Person], UUID]) -> None:
    picture = drawn(alice)
    viewer = make_member(alice.tenant, Role.VIEWER)
    from django.test import Client

    client = Client()
    client.force_login(viewer)
    assert client.post(ZIPS, {"ids": [str(picture)]}, content_type=JSON).status_code == 202
    assert client.post(DELETIONS, {"ids": [str(picture)]}, content_type=JSON).status_code == 403
    _, secret = make_key(alice.tenant, alice.user, scopes=["images:read"])
    headers = {"Authorization": f"Bearer {secret}"}
    assert Client().post(DELETIONS, {"ids": [str(picture)]}, content_type=JSON, headers=headers).status_code == 403
    with in_tenant(alice.tenant.pk):
        assert Generation.objects.count() == 1


def test_lists_cost_the_same_however_long(alice: Person, drawn: Callable[[Person], UUID]) -> None:
    def count() -> list[int]:
        found = []
        for url in (ZIPS, DELETIONS):
            with CaptureQueriesContext(connection) as queries:
                assert alice.api.get(url).status_code == 200
            found.append(len(queries))
        return found

    picture = drawn(alice)
    post(alice, ZIPS, picture)
    post(alice, DELETIONS, submitted(alice))
    few = count()
    for _ in range(3):
        post(alice, ZIPS, picture)
        post(alice, DELETIONS, submitted(alice))
    assert count() == few
