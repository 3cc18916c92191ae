"""POST /v1/images/edits as far as Django goes: OpenAI's form becomes a row with the right task and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile as Upload
from PIL import Image as Picture

from generation.models import Model
from tests.factories import Person
from tests.generation.api.calls import finish, rows, submit
from tests.pictures import data_url, encode, opened, png

EDITS = "/v1/images/edits"


@pytest.fixture(autouse=True)
def _every_task(_model: None) -> None:
    offer("demo", ["text-to-image", "image-to-image", "inpaint"])


def offer(slug: str, tasks: list[str]) -> None:
    family = "qwen-image-edit" if "edit" in tasks else "qwen-image"
    spec = Model.objects.get(slug="demo").spec | {"tasks": tasks, "family": family}
    Model.objects.update_or_create(slug=slug, defaults={"title": slug, "pool": "demo", "spec": spec, "position": 5})


def picture(data: bytes | None = None, name: str = "a.png") -> Upload:
    return Upload(name, png() if data is None else data, "image/png")


def openai_mask() -> bytes:
    """Opaque, with a transparent left half, which is to be edited."""
    whole = Picture.new("RGBA", (64, 64), (255, 255, 255, 255))
    whole.paste((0, 0, 0, 0), (0, 0, 32, 64))
    return encode(whole)


def ask(person: Person, **fields: Any) -> Any:
    return person.api.post(EDITS, {"prompt": "a red house", **fields})


def test_an_image_and_a_prompt(alice: Person) -> None:
    answer = ask(alice, model="demo", image=picture(), n="2", size="64x64", seed="7", strength="0.5", quality="high")
    assert answer.status_code == 202, answer.content
    [row] = rows(alice)
    assert (row.task, row.n, row.seed, row.params["strength"]) == ("image-to-image", 2, 7, 0.5)
    assert answer.json()["answer"]["event"] == "image_edit"


def test_the_mask_is_turned_round(alice: Person, media: Path) -> None:
    """Transparent is edited there, white is drawn anew here."""
    assert ask(alice, model="demo", image=picture(), mask=picture(openai_mask(), "m.png")).status_code == 202
    [row] = rows(alice)
    assert row.task == "inpaint"
    drawn = opened((media / row.params["mask"]["file"]).read_bytes())
    assert drawn.mode == "L" and (drawn.getpixel((0, 0)), drawn.getpixel((63, 0))) == (255, 0)


def test_several_images_are_for_models_that_edit(alice: Person) -> None:
    offer("editor", ["edit"])
    several = [picture(), picture(png(colour="blue")), picture(png(colour="green"))]
    assert ask(alice, model="editor", **{"image[]": several}).status_code == 202
    assert [row.task for row in rows(alice)] == ["edit"] and len(rows(alice)[0].params["images"]) == 3


def test_who_names_no_model_gets_one_that_does_it(alice: Person) -> None:
    assert ask(alice, image=picture()).status_code == 202
    offer("editor", ["edit"])
    assert ask(alice, image=picture()).status_code == 202
    assert ask(alice, image=picture(), mask=picture(openai_mask())).status_code == 202
    assert [(row.model_id, row.task) for row in rows(alice)] == [
        ("demo", "image-to-image"), ("editor", "edit"), ("demo", "inpaint")
    ]  # fmt: skip


def test_the_size_is_the_pictures_own(alice: Person) -> None:
    for more in ({}, {"size": "auto"}):
        assert ask(alice, model="demo", image=picture(png(96, 64)), **more).status_code == 202
    assert {(row.width, row.height) for row in rows(alice)} == {(96, 64)}


def test_json_with_data_urls_and_ids(alice: Person, mallory: Person, media: Path) -> None:
    submit(alice)
    image = finish(alice, rows(alice)[0].pk, media)
    bodies: list[dict[str, Any]] = [
        {"image": data_url(png())},
        {"images": [{"image_url": data_url(png())}]},
        {"images": [{"file_id": str(image.pk)}], "mask": {"image_url": data_url(openai_mask())}},
    ]
    for body in bodies:
        answer = alice.api.post(EDITS, {"model": "demo", "prompt": "x", **body}, content_type="application/json")
        assert answer.status_code == 202, answer.content
    assert [row.task for row in rows(alice)[1:]] == ["image-to-image", "image-to-image", "inpaint"]
    foreign = {"model": "demo", "prompt": "x", "images": [{"file_id": str(image.pk)}]}
    refused = mallory.api.post(EDITS, foreign, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "image")
    assert rows(mallory) == []


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({}, "image", "is required"),
        ({"image": "https://example.com/a.png"}, "image", "none is fetched"),
        ({"image": picture(b"GIF89a")}, "image", "no PNG"),
        ({"image": picture(), "mask": picture()}, "mask", "no transparency"),
        ({"image": picture(), "mask": picture(png(colour=(1, 2, 3, 255), mode="RGBA"))}, "mask", "nothing transparent"),
        ({"image": picture(), "mask": picture(png(32, 32, (0, 0, 0, 0), "RGBA"))}, "mask", "one size"),
        ({"image": picture(), "markup": picture()}, "markup", "is a file"),
        ({"image": picture(), "n": "11"}, "n", "1 to 10"),
        ({"image": picture(), "stream": "yes"}, "stream", "true or false"),
        ({"image": picture(), "size": "63x63"}, "size", "multiples of 16"),
        ({"image": picture(), "output_format": "gif"}, "output_format", "png"),
        ({"image": picture(), "input_fidelity": "medium"}, "input_fidelity", "high, low"),
        ({"image": picture(), "background": "transparent"}, "background", "auto, opaque"),
    ],
)
def test_what_is_wrong_is_named(alice: Person, fields: dict[str, Any], param: str, says: str) -> None:
    for one in fields.values():
        if isinstance(one, Upload):
            one.seek(0)
    answer = ask(alice, model="demo", **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert says in error["message"]
    assert rows(alice) == []


def test_fields_that_nobody_knows_are_passed_over(alice: Person) -> None:
    assert ask(alice, model="demo", image=picture(), frame_count="3", unheard_of="x").status_code == 202
