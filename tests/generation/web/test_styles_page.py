"""The page of the styles, and the studio's select."""

from __future__ import annotations

import json
import re

import pytest

from accounts.enums import Role
from accounts.tenancy import in_tenant
from generation.domain.styles import make_style
from generation.models import Style
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_member, make_person

PAGE = "/team/styles/"
INK = {"name": "Ink", "prompt": "an ink drawing of {prompt}", "negative_prompt": "colour"}


@pytest.fixture(autouse=True)
def _model(db: object) -> None:
    offer_sleeping_model()


def names(person: Person) -> list[str]:
    with in_tenant(person.tenant.pk):
        return [row.name for row in Style.objects.all()]


def made(person: Person, name: str = "Ink") -> Style:
    with in_tenant(person.tenant.pk):
        return make_style(by=person.caller, **{**INK, "name": name})


def test_an_empty_list_says_so(alice: Person, bob: Person) -> None:
    assert "No styles yet. Make the first one below." in alice.client.get(PAGE).content.decode()
    theirs = bob.client.get(PAGE).content.decode()
    assert "Owners and admins of your organisation can make some." in theirs
    assert "New style" not in theirs
    assert "No styles yet." in alice.client.get("/studio/").content.decode()
    assert 'id="error-style"' not in bob.client.get("/studio/").content.decode()


def test_make_change_move_delete(alice: Person) -> None:
    answer = alice.client.post(PAGE, INK, follow=True)
    assert "Ink can be chosen in the studio now." in answer.content.decode()
    alice.client.post(PAGE, {**INK, "name": "<b>Oil"})
    text = alice.client.get(PAGE).content.decode()
    assert "<b>Oil" not in text and "&lt;b&gt;Oil" in text
    with in_tenant(alice.tenant.pk):
        ink, oil = Style.objects.all()
    for way, order in (
        ("up", ["<b>Oil", "Ink"]),
        ("up", ["<b>Oil", "Ink"]),
        ("down", ["Ink", "<b>Oil"]),
        ("x", ["Ink", "<b>Oil"]),
    ):
        assert alice.client.post(f"{PAGE}{oil.pk}/move/", {"way": way}).status_code == 302
        assert names(alice) == order
    page = alice.client.get(f"{PAGE}{ink.pk}/").content.decode()
    assert "an ink drawing of {prompt}" in page
    assert alice.client.post(f"{PAGE}{ink.pk}/", {**INK, "name": "Pen", "negative_prompt": ""}).status_code == 302
    assert names(alice) == ["Pen", "<b>Oil"]
    assert alice.client.post(f"{PAGE}{ink.pk}/delete/").status_code == 302
    assert names(alice) == ["<b>Oil"]


def test_refusals_stand_at_their_field(alice: Person) -> None:
    made(alice)
    for body, words in (
        ({**INK, "prompt": "without"}, "must have {prompt} in it once"),
        ({**INK, "name": "ink"}, "There is a style named &#x27;ink&#x27; already"),
        ({**INK, "name": ""}, "This field is required"),
    ):
        answer = alice.client.post(PAGE, body)
        assert answer.status_code in (400, 409)
        assert words in answer.content.decode()
    assert names(alice) == ["Ink"]


def test_who_may_not(alice: Person, bob: Person, mallory: Person) -> None:
    row = made(alice)
    for person, status in ((bob, 403), (mallory, 404)):
        for path, body in ((f"{row.pk}/", INK), (f"{row.pk}/move/", {"way": "up"}), (f"{row.pk}/delete/", {})):
            assert person.client.post(PAGE + path, body).status_code == status, path
    assert bob.client.post(PAGE, INK).status_code == 403
    assert names(alice) == ["Ink"]
    assert alice.client.post(PAGE, {**INK, "name": "B", "here": str(mallory.tenant.pk)}).status_code == 302
    assert names(alice) == ["Ink"]
    admin = make_person(alice.tenant, make_member(alice.tenant, Role.ADMIN))
    assert admin.client.post(PAGE, {**INK, "name": "B"}).status_code == 302
    assert names(alice) == ["Ink", "B"]


def test_the_studio_offers_them(alice: Person, mallory: Person) -> None:
    made(alice), made(mallory, "Foreign")
    text = alice.client.get("/studio/").content.decode()
    assert '<option value="Ink">' in text
    assert "Foreign" not in text
    found = re.search(r'<script id="styles" type="application/json">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found.group(1)) == [INK]
