"""The studio and the gallery, without a browser: what is shown to whom, and in how many statements."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.enums import Role
from accounts.tenancy import in_tenant
from generation.enums import Status
from generation.models import Generation, Model
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person, make_member, make_user
from tests.generation.api.calls import finish, rows, submitted

DEMO = "generation/engine/demo/checkpoint"
SMALL = {"width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _model(db: object) -> None:
    offer_sleeping_model()


def snapshot(text: str) -> Any:
    found = re.search(r'<script id="snapshot" type="application/json">(.*?)</script>', text)
    assert found is not None
    return json.loads(found.group(1))


def test_studio_opens_with_ones_own_work(alice: Person, bob: Person) -> None:
    mine = submitted(alice, prompt="mine <b>", **SMALL)
    submitted(bob, prompt="bobs", **SMALL)
    text = alice.client.get("/studio/").content.decode()
    opened = snapshot(text)
    assert [one["id"] for one in opened["generations"]] == [str(mine)]
    assert opened["notices"] != []  # no worker runs
    assert "mine <b>" not in text
    state = alice.client.get("/studio/state/").json()
    assert [one["id"] for one in state["generations"]] == [str(mine)]


def test_state_of_a_stranger_is_a_problem(client: Any) -> None:
    answer = client.get("/studio/state/")
    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")


def test_viewers_may_look_only(alice: Person) -> None:
    viewer = Client()
    viewer.force_login(make_member(alice.tenant, Role.VIEWER, user=make_user("viewer")))
    generation = submitted(alice, **SMALL)
    text = viewer.get("/studio/").content.decode()
    assert 'id="composer"' not in text
    assert "You are a viewer here" in text
    assert viewer.post(f"/gallery/{generation}/delete/").status_code == 403
    assert len(rows(alice)) == 1


def test_unknown_words_are_named_for_the_demo_only(alice: Person) -> None:
    def ask(prompt: str) -> str:
        return str(alice.client.post("/studio/words/", {"prompt": prompt, "model": "demo"}).content.decode())

    assert ask("a dragon").strip() == ""  # the sleeping model is not the demo
    row = Model.objects.get(slug="demo")
    row.spec["path"] = DEMO
    row.save()
    assert "<b>dragon</b>" in ask("a red dragon")
    assert ask("a red circle").strip() == ""
    assert "&lt;script&gt;" not in ask("<script>")  # words have letters only
    assert "<b>script</b>" in ask("<script>")
    assert ask("x" * 100_000).count("<b>") == 1
    assert alice.client.post("/studio/words/", {"prompt": "a dragon", "model": "\x00"}).content.strip() == b""


def test_again_fills_the_form_with_ones_own_tenants_work(alice: Person, mallory: Person) -> None:
    generation = submitted(alice, prompt="a blue square", seed=2**62, **SMALL)

    def draft(person: Person, query: str) -> Any:
        text = person.client.get(f"/studio/?{query}").content.decode()
        found = re.search(r'<script id="draft" type="application/json">(.*?)</script>', text)
        assert found is not None
        return json.loads(found.group(1))

    assert draft(alice, f"again={generation}")["prompt"] == "a blue square"
    assert "seed" not in draft(alice, f"again={generation}")
    assert draft(alice, f"again={generation}&image=0")["seed"] == 2**62
    assert "seed" not in draft(alice, f"again={generation}&image=1")  # it has but one
    assert "seed" not in draft(alice, f"again={generation}&image=x")
    assert draft(alice, "again=") is None
    for person, query in ((mallory, f"again={generation}"), (alice, "again=nonsense")):
        assert person.client.get(f"/studio/?{query}").status_code == 404


def test_gallery_shows_searches_and_goes_on(alice: Person, bob: Person, mallory: Person, media: Path) -> None:
    image = finish(alice, submitted(alice, prompt="a green TREE in the snow", **SMALL), media)
    for number in range(40):
        submitted(alice, prompt=f"circle {number}", **SMALL)
    first = bob.client.get("/gallery/").content.decode()
    assert first.count('class="shot-link"') == 36
    more = re.search(r'hx-get="/gallery/\?(cursor=[^"]+)"', first)
    assert more is not None
    piece = bob.client.get(f"/gallery/?{more.group(1)}", headers={"HX-Request": "true", "HX-Target": "more-shots"})
    assert piece.content.decode().count('class="shot-link"') == 5
    assert b"<html" not in piece.content
    assert f"/files/{image.pk}/thumbnail" in piece.content.decode()
    found = bob.client.get("/gallery/?q=tree", headers={"HX-Request": "true", "HX-Target": "wall"}).content.decode()
    assert found.count('class="shot-link"') == 1
    assert mallory.client.get("/gallery/").content.decode().count('class="shot-link"') == 0
    assert alice.client.get("/gallery/?cursor=nonsense").status_code == 404


def test_lists_cost_the_same_however_long(alice: Person) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.client.get(path).status_code == 200
        return len(queries)

    submitted(alice, **SMALL)
    before = [count("/gallery/"), count("/studio/")]
    for _ in range(6):
        submitted(alice, **SMALL)
    assert [count("/gallery/"), count("/studio/")] == before


def test_picture_page_and_delete(alice: Person, bob: Person, mallory: Person, media: Path) -> None:
    generation = submitted(alice, prompt="a yellow moon", seed=99, **SMALL)
    assert alice.client.post(f"/gallery/{generation}/delete/")["Location"] == f"/gallery/{generation}/"
    assert len(rows(alice)) == 1  # it still waits
    image = finish(alice, generation, media)
    text = bob.client.get(f"/gallery/{generation}/").content.decode()
    assert "a yellow moon" in text
    assert f"/files/{image.pk}?download=1" in text
    assert 'data-fact="seed">99<' in text
    for path in (f"/gallery/{generation}/", f"/gallery/{uuid4()}/"):
        assert mallory.client.get(path).status_code == 404
    assert mallory.client.post(f"/gallery/{generation}/delete/").status_code == 404
    assert bob.client.get(f"/gallery/{generation}/delete/").status_code == 405
    assert bob.client.post(f"/gallery/{generation}/delete/")["Location"] == "/gallery/"
    assert rows(alice) == []


def test_refusals_are_said_in_the_pages_language(alice: Person, bob: Person) -> None:
    generation = submitted(alice, **SMALL)
    with in_tenant(alice.tenant.pk):
        Generation.objects.filter(pk=generation).update(
            status=Status.FAILED, error_code="bad_frame", error_message="the picture is completely black"
        )
    chinese = {"Accept-Language": "zh-hans"}
    path = f"/gallery/{generation}/"
    assert "the picture is completely black" in alice.client.get(path).content.decode()
    text = alice.client.get(path, headers=chinese).content.decode()
    assert "模型画出的图片已损坏，不予交付。 (the picture is completely black)" in text
    # What scripts show comes from the API in English: the page brings the sentences along.
    codes = re.search(r'data-codes="([^"]*)"', text)
    assert codes is not None
    assert json.loads(html.unescape(codes[1]))["queue_full"] == ["你的组织等待中的生成任务过多。", False]
    assert 'data-codes="{}"' in alice.client.get(path).content.decode()
    wrong = {"name": "x", "scopes": ["images:read"], "networks": "nowhere"}
    text = bob.client.post("/keys/", wrong, headers=chinese).content.decode()
    assert "某个值不符合要求。 (&#x27;nowhere&#x27; is no IP network" in text
