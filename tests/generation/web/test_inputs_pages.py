"""Pictures to start from on the pages: what the studio opens with, what the page of a picture tells, again and vary."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from accounts.tenancy import in_tenant
from generation.enums import Status
from generation.models import Generation, Model
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.api.calls import finish, rows, submitted
from tests.pictures import data_url, mask, png

SMALL = {"width": 64, "height": 64}
TASKS = ["text-to-image", "image-to-image", "inpaint"]


@pytest.fixture(autouse=True)
def _model(db: object) -> None:
    offer_sleeping_model()
    offer(TASKS)


def offer(tasks: list[str]) -> None:
    row = Model.objects.get(slug="demo")
    row.spec = row.spec | {"tasks": tasks}
    row.save()


def script(text: str, name: str) -> Any:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', text)
    assert found is not None
    return json.loads(found.group(1))


def inpainted(person: Person) -> Generation:
    """A request that starts from a picture, and has ended."""
    fields = {"image": data_url(png()), "mask": data_url(mask()), "strength": 0.45}
    generation = submitted(person, **fields, **SMALL)
    with in_tenant(person.tenant.pk):
        Generation.objects.filter(pk=generation).update(status=Status.CANCELED)
        row: Generation = Generation.objects.get(pk=generation)
    return row


def test_the_studio_offers_pictures_where_a_model_takes_them(alice: Person) -> None:
    text = alice.client.get("/studio/").content.decode()
    assert 'id="inputs"' in text and 'id="mask-dialog"' in text
    assert script(text, "models")[0]["tasks"] == TASKS
    offer(["text-to-image"])
    text = alice.client.get("/studio/").content.decode()
    assert 'id="inputs"' not in text and 'id="mask-dialog"' not in text


def test_start_from_an_image_of_the_tenants(alice: Person, bob: Person, mallory: Person, media: Path) -> None:
    generation = submitted(alice, **SMALL)
    image = finish(alice, generation, media)
    assert f'href="/studio/?start={image.pk}"' in bob.client.get(f"/gallery/{generation}/").content.decode()
    start = script(bob.client.get(f"/studio/?start={image.pk}").content.decode(), "start")
    assert (start["id"], start["width"], start["height"]) == (str(image.pk), 64, 64)
    assert start["url"].endswith(f"/files/{image.pk}")
    for person, id in ((mallory, image.pk), (alice, generation), (alice, UUID(int=0)), (alice, "x")):
        assert person.client.get(f"/studio/?start={id}").status_code == 404
    offer(["text-to-image"])
    assert "?start=" not in alice.client.get(f"/gallery/{generation}/").content.decode()


def test_the_page_of_a_picture_tells_what_it_started_from(alice: Person) -> None:
    row = inpainted(alice)
    text = alice.client.get(f"/gallery/{row.pk}/").content.decode()
    picture, covered = row.params["images"][0]["id"], row.params["mask"]["id"]
    assert f"/files/inputs/{picture}" in text
    assert re.search(rf'data-cover="[^"]*/files/inputs/{covered}"', text)
    assert "<dt>Task</dt><dd>Inpaint</dd>" in text and "<dt>Strength</dt><dd>0.45</dd>" in text
    draft = script(alice.client.get(f"/studio/?again={row.pk}").content.decode(), "draft")
    assert (draft["inputs"][0]["id"], draft["mask"]["id"], draft["strength"]) == (picture, covered, 0.45)
    plain = alice.client.get(f"/gallery/{submitted(alice, **SMALL)}/").content.decode()
    assert "<dt>Task</dt>" not in plain and "<dt>Strength</dt>" not in plain


@pytest.mark.parametrize("way", ["again", "vary"])
def test_again_and_vary_keep_them(alice: Person, way: str) -> None:
    first = inpainted(alice)
    assert alice.client.post(f"/gallery/{first.pk}/{way}/").status_code == 302
    second = next(row for row in rows(alice) if row.pk != first.pk)
    assert second.task == "inpaint"
    for name in ("images", "mask", "strength"):
        assert second.params[name] == first.params[name]
    assert (second.seed == first.seed) is (way == "again")


def test_compare_names_task_and_strength(alice: Person) -> None:
    first, second = inpainted(alice), submitted(alice, **SMALL)
    text = alice.client.get(f"/gallery/compare/?left={first.pk}&right={second}").content.decode()
    assert "inpaint" in text and "text to image" in text and "0.45" in text
