"""The page of the organisation, and that of its audit log."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from accounts.domain.audit import Actor, acting, record
from accounts.domain.exports import finish_export
from accounts.domain.media import write_atomic
from accounts.enums import Role
from accounts.models import Export, Tenant
from accounts.tenancy import in_tenant
from generation.domain.export import export_path
from tests.accounts.domain.test_logos import picture
from tests.factories import Person, make_member, make_person, make_user

PAGE = "/team/organisation/"


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def stored(person: Person) -> Tenant:
    with in_tenant(person.tenant.pk):
        return Tenant.objects.get()


@pytest.fixture
def admin(alice: Person) -> Person:
    return make_person(alice.tenant, make_member(alice.tenant, Role.ADMIN, user=make_user("ann")))


def test_settings_are_changed_together(alice: Person, bob: Person, media: Path) -> None:
    page = alice.client.get(PAGE)
    assert page.status_code == 200 and "Your own address is 127.0.0.1." in text(page)
    form = {"name": "Lab", "networks": "127.0.0.0/8\n2001:db8::/32", "logo": SimpleUploadedFile("x.png", picture())}
    assert alice.client.post(PAGE, form).status_code == 302
    row = stored(alice)
    assert (row.name, row.networks) == ("Lab", ["127.0.0.0/8", "2001:db8::/32"]) and row.logo
    shown = bob.client.get("/team/").content.decode()
    src = re.search(r'src="(/files/logos/[^"]+)"', shown)
    assert src is not None and bob.client.get(src[1]).status_code == 200
    assert alice.client.post(PAGE, {"name": "Lab", "networks": "", "without_logo": "on"}).status_code == 302
    assert (stored(alice).networks, stored(alice).logo) == ([], "")


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"name": "", "networks": ""}, 400, "This field is required"),
        ({"name": "New", "networks": "here"}, 400, "no IP network"),
        ({"name": "New", "networks": "10.0.0.0/8"}, 409, "you would be shut out"),
        ({"name": "New", "networks": "", "logo": b"<svg/>"}, 400, "no PNG, JPEG or WebP"),
    ],
)
def test_wrong_settings_stand_beside_their_field(
    alice: Person, media: Path, form: dict[str, Any], status: int, words: str
) -> None:
    files = {name: SimpleUploadedFile("x.png", value) for name, value in form.items() if isinstance(value, bytes)}
    sent = {**form, **files}
    answer = alice.client.post(PAGE, sent)
    assert answer.status_code == status and words in text(answer) and "field-error" in answer.content.decode()
    assert (stored(alice).name, stored(alice).networks, stored(alice).logo) == ("A", [], "")


def test_a_body_over_the_cap_is_called_too_large(alice: Person, media: Path) -> None:
    answer = alice.client.post(PAGE, {"name": "New", "logo": SimpleUploadedFile("x.png", b"x" * 1_100_000)})
    assert answer.status_code == 413 and "This is too large" in text(answer) and stored(alice).name == "A"
    answer = alice.client.post(PAGE, {"name": "New", "logo": SimpleUploadedFile("x.png", b"x" * 900_000)})
    assert answer.status_code == 400 and "Logo is too large, max 700000 bytes" in text(answer)


def test_owners_export_and_delete_admins_do_not(alice: Person, admin: Person, bob: Person, media: Path) -> None:
    assert "Take everything with you" not in text(admin.client.get(PAGE))
    for person in (admin, bob):
        assert person.client.post(f"{PAGE}export/").status_code == 403
        assert person.client.post(f"{PAGE}delete/", {"confirm": "A"}).status_code == 403
    said = alice.client.post(f"{PAGE}export/", follow=True)
    assert "The export is being made." in text(said) and "data-export=" in said.content.decode()
    again = alice.client.post(f"{PAGE}export/", follow=True)
    assert "under way already" in text(again)
    with in_tenant(alice.tenant.pk):
        export = Export.objects.get()
        path = export_path(alice.tenant.pk, export.pk)
        write_atomic(path, b"zip")
        finish_export(export.pk, file=path, size=3, done=0)
    ready = alice.client.get(PAGE).content.decode()
    assert f"/files/exports/{export.pk}" in ready and "data-export=" not in ready
    with override_settings(STUDIO_ACCEL_PREFIX="/protected/"):
        answer = alice.client.get(f"/files/exports/{export.pk}")
    assert answer["X-Accel-Redirect"] == f"/protected/{path}" and answer["Content-Type"] == "application/zip"


# ---- the audit log


def write(who: Person, action: str, **fields: Any) -> None:
    with in_tenant(who.tenant.pk), acting(Actor(user=who.user.pk, address="192.0.2.1")):
        record(action, **fields)


def test_admins_read_the_log_in_words(admin: Person, alice: Person, mallory: Person) -> None:
    write(mallory, "key.changed", target="theirs")
    write(alice, "member.role", target=f"user:{admin.user.pk}", detail={"from": "member", "to": "<b>admin</b>"})
    page = admin.client.get("/team/audit/")
    words = text(page)
    assert "changed a role" in words and alice.user.email in words and admin.user.email in words
    assert "192.0.2.1" in words and "theirs" not in words and "<b>admin</b>" not in page.content.decode()
    only = text(admin.client.get(f"/team/audit/?action=member.role&person={alice.user.email}&result=ok"))
    assert "changed a role" in only and "made the organisation" not in only.partition("When (UTC)")[2]
    empty = admin.client.get(f"/team/audit/?person={mallory.user.email}")
    assert "Nothing fits these filters." in text(empty)
    wrong = admin.client.get("/team/audit/?day=soon")
    assert wrong.status_code == 400 and "Day must be a day" in text(wrong)
    chinese = admin.client.get("/team/audit/", headers={"Accept-Language": "zh-hans"})
    assert "更改了角色" in text(chinese)


def test_pages_and_csv(admin: Person, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.web.auditlog.PER_PAGE", 5)
    for number in range(12):
        write(alice, "key.changed", target=f"=n{number}")
    seen: list[str] = []
    address = "?action=key.changed"
    while address:
        with CaptureQueriesContext(connection) as queries:
            page = admin.client.get(f"/team/audit/{address}").content.decode()
        assert len(queries) < 20
        seen += re.findall(r"=n(\d+)", page)
        older = re.search(r'href="(\?[^"]+)">Older', page)
        address = older[1].replace("&amp;", "&") if older else ""
    assert seen == [str(number) for number in range(11, -1, -1)]
    answer = admin.client.get("/team/audit/csv/?action=key.changed")
    assert answer.streaming and answer["Content-Disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"), newline="")))
    assert [row["target"] for row in rows] == [f"'=n{number}" for number in range(11, -1, -1)]
    assert {row["person"] for row in rows} == {alice.user.email}
