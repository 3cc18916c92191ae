"""Pictures to start from: by data URL, part and id; whose they are, how long they are kept, what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image as Picture

from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.inputends import forget_unused_inputs
from generation.models import InputFile, InputUse, Model
from tests.factories import Person, make_plan
from tests.generation.api.calls import BODY, IMAGES, finish, ledger, rows, submit
from tests.generation.domain.desk import Look, check_books
from tests.generation.lorafiles import offer_lora
from tests.pictures import data_url, mask, opened, png

INPUTS = "/api/v1/inputs"
RED = data_url(png())
Upload = SimpleUploadedFile


@pytest.fixture(autouse=True)
def _every_task(_model: None) -> None:
    offer("demo", ["text-to-image", "image-to-image", "inpaint"])
    offer("editor", ["edit"])


@pytest.fixture
def look(admin_sql: psycopg.Connection[tuple[Any, ...]]) -> Look:
    """Rows as they stand in the database, whoever's they are."""
    return lambda sql, *values: admin_sql.execute(sql, values or None).fetchall()  # type: ignore[arg-type]


def offer(slug: str, tasks: list[str], **fields: Any) -> None:
    family = "qwen-image-edit" if "edit" in tasks else "qwen-image"
    spec = Model.objects.get(slug="demo").spec | {"tasks": tasks, "family": family} | fields
    Model.objects.update_or_create(slug=slug, defaults={"title": slug, "pool": "demo", "spec": spec, "position": 5})


def inputs_of(person: Person) -> list[InputFile]:
    with in_tenant(person.tenant.pk):
        return list(InputFile.objects.order_by("created_at"))


def stored_bytes(person: Person) -> int:
    with across_tenants():
        return int(Tenant.objects.values_list("stored_bytes", flat=True).get(pk=person.tenant.pk))


def store(person: Person, **fields: Any) -> Any:
    return person.api.post(INPUTS, fields or {"image": RED}, content_type="application/json")


def files_in(media: Path) -> set[str]:
    return {path.relative_to(media).as_posix() for path in media.rglob("*") if path.is_file()}


def test_a_data_url_makes_image_to_image(alice: Person, media: Path) -> None:
    answer = submit(alice, image=RED, strength=0.5)
    assert answer.status_code == 202, answer.content
    body = answer.json()
    [row] = rows(alice)
    assert (row.task, row.schema_version, row.params["strength"]) == ("image-to-image", 3, 0.5)
    [one] = row.params["images"]
    data = (media / one["file"]).read_bytes()
    assert one["sha256"] == hashlib.sha256(data).hexdigest() and (one["width"], one["height"]) == (64, 64)
    assert one["file"] == f"{alice.tenant.pk}/inputs/{one['id']}.png"
    assert "mask" not in row.params
    picture = opened(data)
    assert (picture.mode, picture.format, picture.getpixel((5, 5))) == ("RGB", "PNG", (200, 30, 30))
    # as its JSON tells it, without the place of the file
    assert (body["task"], body["strength"], body["mask"]) == ("image-to-image", 0.5, None)
    assert body["inputs"] == [
        {"id": one["id"], "url": body["inputs"][0]["url"], "width": 64, "height": 64, "sha256": one["sha256"]}
    ]
    served = alice.api.get(f"/files/inputs/{one['id']}")
    assert b"".join(served.streaming_content) == data and served["Content-Type"] == "image/png"
    assert stored_bytes(alice) == len(data)


def test_text_to_image_stays_as_it_was(alice: Person) -> None:
    assert submit(alice).json()["inputs"] == []
    [row] = rows(alice)
    assert (row.task, row.schema_version) == ("text-to-image", 1)
    assert {"images", "mask", "strength"} & row.params.keys() == set()


def test_a_mask_makes_inpaint(alice: Person, media: Path) -> None:
    body = submit(alice, image=RED, mask=data_url(mask())).json()
    [row] = rows(alice)
    assert (row.task, row.params["strength"]) == ("inpaint", 0.6)
    picture = opened((media / row.params["mask"]["file"]).read_bytes())
    assert picture.mode == "L" and (picture.getpixel((0, 0)), picture.getpixel((63, 63))) == (255, 0)
    assert body["mask"]["id"] == row.params["mask"]["id"]
    with in_tenant(alice.tenant.pk):
        assert list(InputUse.objects.order_by("place").values_list("place", flat=True)) == [0, 1]


def test_a_model_that_only_edits_edits(alice: Person) -> None:
    three = [RED, data_url(png(colour="blue")), data_url(png(96, 64, "green"))]
    answer = submit(alice, model="editor", image=three)
    assert answer.status_code == 202, answer.content
    [row] = rows(alice)
    assert row.task == "edit" and len(row.params["images"]) == 3 and "strength" not in row.params
    other = submit(alice, model="editor", image=[three[2], *three[:2]], width=row.width, height=row.height)
    assert other.status_code == 202
    assert len({row.batch_key for row in rows(alice)}) == 2  # other shapes, another pass


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"mask": data_url(mask())}, "mask", "needs the image"),
        ({"strength": 0.5}, "strength", "needs an image"),
        ({"image": RED, "strength": 0}, "strength", "more than 0"),
        ({"image": RED, "strength": 1.01}, "strength", "0 to 1"),
        ({"image": RED, "strength": "much"}, "strength", "must be a number"),
        ({"image": [RED, RED]}, "image", "image-to-image starts from one"),
        ({"image": []}, "image", "takes 1 to 3"),
        ({"image": [RED] * 4}, "image", "takes 1 to 3"),
        ({"image": {"url": RED}}, "image", "must be a data URL"),
        ({"image": 7}, "image", "must be a data URL"),
        ({"image": "red.png"}, "image", "id (a UUID)"),
        ({"image": "../../etc/passwd"}, "image", "id (a UUID)"),
        ({"image": "http://169.254.169.254/latest/meta-data"}, "image", "none is fetched"),
        ({"image": "HTTPS://example.com/a.png"}, "image", "none is fetched"),
        ({"image": "file:///etc/passwd"}, "image", "none is fetched"),
        ({"image": "data:image/png,abc"}, "image", "must be a data URL of base64"),
        ({"image": "data:image/png;base64"}, "image", "must be a data URL of base64"),
        ({"image": "data:image/png;base64,@@@@"}, "image", "no base64"),
        ({"image": "data:image/png;base64,é"}, "image", "no base64"),
        ({"image": "data:image/png;base64," + "A" * 14_000_000}, "image", "max 10000000 bytes"),
        ({"image": "data:image/svg+xml;base64,PHN2Zy8+"}, "image", "must be PNG, JPEG or WebP"),
        ({"image": data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>")}, "image", "no PNG, JPEG or WebP"),
        ({"image": data_url(b"%PDF-1.7 and so on")}, "image", "no PNG, JPEG or WebP"),
        ({"image": "data:image/png;base64,"}, "image", "empty"),
        ({"image": RED, "mask": data_url(mask(32, 64))}, "mask", "32 × 64 pixels, its image 64 × 64"),
        ({"image": RED, "mask": data_url(png(colour=0, mode="L"))}, "mask", "black everywhere"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    alice: Person, media: Path, fields: dict[str, Any], field: str, says: str
) -> None:
    answer = submit(alice, **fields)
    assert answer.status_code == 400, answer.content
    assert says in " ".join(answer.json()["errors"][field]), answer.content
    assert rows(alice) == [] and ledger(alice) == {} and inputs_of(alice) == [] and files_in(media) == set()


@pytest.mark.parametrize(
    ("model", "fields", "task"),
    [
        ("plain", {"image": RED}, "image-to-image"),
        ("plain", {"image": RED, "mask": data_url(mask())}, "inpaint"),
        ("editor", {}, "text-to-image"),
        ("editor", {"image": RED, "mask": data_url(mask())}, "inpaint"),
    ],
)
def test_a_task_that_the_model_lacks_is_named(alice: Person, model: str, fields: dict[str, Any], task: str) -> None:
    offer("plain", ["text-to-image"])
    answer = submit(alice, model=model, **fields)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, "task_not_offered")
    assert repr(task) in body["detail"] and ("edit" if model == "editor" else "text-to-image") in body["detail"]
    assert inputs_of(alice) == []


def test_strength_belongs_to_no_edit(alice: Person) -> None:
    answer = submit(alice, model="editor", image=RED, strength=0.5)
    assert answer.status_code == 400 and "strength" in answer.json()["errors"]


def test_the_same_picture_is_kept_once(alice: Person, bob: Person, mallory: Person, media: Path) -> None:
    for person in (alice, bob, mallory):
        assert submit(person, image=RED).status_code == 202
    assert len(inputs_of(alice)) == 1 and len(inputs_of(mallory)) == 1
    assert len(files_in(media)) == 2
    assert inputs_of(alice)[0].pk != inputs_of(mallory)[0].pk


def test_a_form_says_the_same(alice: Person) -> None:
    fields = {
        **BODY, "image": Upload("a.png", png(), "image/png"), "mask": Upload("m.png", mask(), "image/png"),
        "strength": "0.25", "n": "2", "seed": "7", "metadata": '{"order": "17"}', "loras": "[]",
    }  # fmt: skip
    answer = alice.api.post(IMAGES, fields)
    assert answer.status_code == 202, answer.content
    [row] = rows(alice)
    assert (row.task, row.params["strength"], row.n, row.seed) == ("inpaint", 0.25, 2, 7)
    assert row.params["metadata"] == {"order": "17"}


def test_a_form_of_a_session_needs_its_token(bob: Person) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(bob.user)
    fields = {**BODY, "image": Upload("a.png", png(), "image/png")}
    assert browser.post(IMAGES, fields).status_code == 403
    assert rows(bob) == []
    browser.cookies["studio_csrf"] = token = "a" * 32
    again = {**BODY, "image": Upload("a.png", png(), "image/png")}
    accepted = browser.post(IMAGES, again, headers={"X-CSRFToken": token})
    assert accepted.status_code == 202, accepted.content
    assert [row.task for row in rows(bob)] == ["image-to-image"]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"image": Upload("a.png", b"", "image/png")}, "image", "empty"),
        ({"image": Upload("a.png", b"<svg/>", "image/png")}, "image", "no PNG"),
        ({"image": Upload("a.svg", b"<svg/>", "image/svg+xml")}, "image", "got image/svg+xml"),
        ({"image": Upload("a.png", b"0" * 10_000_001, "image/png")}, "image", "max 10000000 bytes"),
        ({"prompt": Upload("a.txt", b"a house", "text/plain")}, "prompt", "is a file"),
        ({"prompt": ["a house", "a tree"]}, "prompt", "occurs twice"),
        ({"n": "two"}, "n", "whole number"),
        ({"loras": "[{]"}, "loras", "malformed JSON"),
        ({"steps": "4"}, "steps", "unknown field"),
    ],
)
def test_what_is_wrong_in_a_form_is_named(alice: Person, fields: dict[str, Any], field: str, says: str) -> None:
    for one in fields.values():
        if isinstance(one, Upload):
            one.seek(0)
    answer = alice.api.post(IMAGES, {**BODY, **fields})
    assert answer.status_code == 400, answer.content
    assert says in " ".join(answer.json()["errors"][field])
    assert rows(alice) == []


def test_a_form_of_many_parts_is_refused(alice: Person) -> None:
    files = {f"image{number}": Upload("a.png", png(), "image/png") for number in range(20)}
    assert alice.api.post(IMAGES, {**BODY, **files}).status_code == 400
    fields = {f"field{number}": "x" for number in range(300)}
    assert alice.api.post(IMAGES, {**BODY, **fields}).status_code == 400
    assert alice.api.post(IMAGES, {**BODY, "negative_prompt": "x" * 1_100_000}).status_code == 413
    whole = {**BODY, "image": Upload("a.png", b"0" * 33_000_000, "image/png")}
    assert alice.api.post(IMAGES, whole).status_code == 413
    assert rows(alice) == []


def test_the_same_form_sent_again_makes_nothing_new(alice: Person) -> None:
    key = {"Idempotency-Key": "order-1"}

    def send(data: bytes) -> Any:
        return alice.api.post(IMAGES, {**BODY, "image": Upload("a.png", data, "image/png")}, headers=key)

    first, again = send(png()), send(png())
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"] and again["Idempotency-Replayed"] == "true"
    assert send(png(colour="blue")).status_code == 422
    assert len(rows(alice)) == 1


def test_ones_own_images_and_inputs_go_by_their_ids(alice: Person, bob: Person, media: Path) -> None:
    made = submit(alice)
    image = finish(alice, rows(alice)[0].pk, media)
    assert submit(bob, image=str(image.pk)).status_code == 202  # of the same tenant
    stored = store(alice, image=data_url(png(colour="blue")))
    assert stored.status_code == 201, stored.content
    assert stored.json()["kind"] == "picture"
    assert submit(alice, image=stored.json()["id"]).status_code == 202
    drawn = store(alice, mask=data_url(mask()))
    again = submit(alice, image=stored.json()["id"], mask=drawn.json()["id"])
    assert again.status_code == 202 and again.json()["mask"]["id"] == drawn.json()["id"]
    assert made.status_code == 202 and len(inputs_of(alice)) == 3


@pytest.mark.parametrize("field", ["image", "mask"])
def test_a_foreign_id_is_an_id_that_does_not_exist(alice: Person, mallory: Person, media: Path, field: str) -> None:
    """Mallory knows the ids of Alice's picture and input."""
    submit(alice)
    image = finish(alice, rows(alice)[0].pk, media)
    stored = store(alice).json()["id"]
    before = files_in(media)
    answers = []
    for id in (str(image.pk), stored, str(uuid4())):
        fields = {"image": id} if field == "image" else {"image": RED, "mask": id}
        for path, more in ((IMAGES, {}), ("/api/v1/estimates", {})):
            answer = mallory.api.post(path, {**BODY, **fields, **more}, content_type="application/json")
            body = answer.json()
            answers.append((answer.status_code, body["code"], body["detail"], body["errors"]))
        stolen = store(mallory, **{field: id})
        assert (stolen.status_code, stolen.json()["detail"]) == (404, "no such image")
    assert set(map(str, answers)) == {str((404, "not_found", "no such image", {field: ["no such image"]}))}
    assert rows(mallory) == [] and inputs_of(mallory) == [] and files_in(media) == before
    assert mallory.api.get(f"/files/inputs/{stored}").status_code == 404
    assert mallory.client.get(f"/files/inputs/{stored}").status_code == 404
    assert Client().get(f"/files/inputs/{stored}").status_code == 404
    assert alice.client.get(f"/files/inputs/{stored}").status_code == 200


def test_retry_and_vary_keep_what_a_picture_started_from(alice: Person, media: Path) -> None:
    first = submit(alice, image=RED, mask=data_url(mask()), strength=0.3).json()["id"]
    finish(alice, rows(alice)[0].pk, media)
    for way in ("retry", "vary"):
        again = alice.api.post(f"{IMAGES}/{first}/{way}")
        assert again.status_code == 202, again.content
        body = again.json()
        assert (body["task"], body["strength"]) == ("inpaint", 0.3)
        before = alice.api.get(f"{IMAGES}/{first}").json()
        assert (body["inputs"], body["mask"]) == (before["inputs"], before["mask"])
    assert len(inputs_of(alice)) == 2


def test_inputs_go_with_the_last_that_uses_them(alice: Person, media: Path, look: Look) -> None:
    for _ in range(2):
        assert submit(alice, image=RED).status_code == 202
    one, two = rows(alice)
    for row in (one, two):
        finish(alice, row.pk, media)
    assert alice.api.delete(f"{IMAGES}/{one.pk}").status_code == 204
    [kept] = inputs_of(alice)
    assert alice.api.delete(f"{IMAGES}/{two.pk}").status_code == 204
    assert inputs_of(alice) == []
    deleted = [path for (data,) in look("SELECT data FROM accounts_errand") for path in data["paths"]]
    assert kept.file in deleted
    assert look("SELECT count(*) FROM generation_inputuse") == [(0,)]


def test_unused_inputs_go_after_a_day(alice: Person, mallory: Person, media: Path, look: Look) -> None:
    used, unused = store(alice).json()["id"], store(alice, image=data_url(png(colour="blue"))).json()["id"]
    assert submit(alice, image=used).status_code == 202
    store(mallory)
    assert forget_unused_inputs_as_worker() == 0
    look("UPDATE generation_inputfile SET unused_since = now() - interval '25 hours' WHERE id = %s RETURNING 1", unused)
    # Sent again, and then not drawn: the generation before still holds it.
    look("UPDATE generation_inputfile SET unused_since = now() - interval '25 hours' WHERE id = %s RETURNING 1", used)
    assert forget_unused_inputs_as_worker() == 1
    assert [str(row.pk) for row in inputs_of(alice)] == [used] and len(inputs_of(mallory)) == 1
    assert inputs_of(alice)[0].unused_since is None
    check_books(look)
    [(data,)] = look("SELECT data FROM accounts_errand")
    assert data["paths"] == [f"{alice.tenant.pk}/inputs/{unused}.png"]


def forget_unused_inputs_as_worker() -> int:
    with across_tenants():
        return forget_unused_inputs()


def test_inputs_count_for_the_storage_and_a_full_one_takes_none(alice: Person, media: Path, look: Look) -> None:
    assert submit(alice, image=RED).status_code == 202
    size = inputs_of(alice)[0].bytes
    assert stored_bytes(alice) == size > 0
    check_books(look)
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(storage_bytes=size))
    before = files_in(media)
    refused = store(alice, image=data_url(png(colour="blue")))
    assert (refused.status_code, refused.json()["code"]) == (409, "storage_full")
    assert files_in(media) == before


def test_a_refused_request_leaves_no_picture(alice: Person, media: Path, look: Look) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(images_per_day=1))
    assert submit(alice, image=RED, n=2).status_code == 429
    assert inputs_of(alice) == [] and files_in(media) == set() and stored_bytes(alice) == 0
    kept = store(alice).json()["id"]  # what was there before stays
    assert submit(alice, image=RED, n=2).status_code == 429
    assert [str(row.pk) for row in inputs_of(alice)] == [kept]


def test_estimates_look_and_store_nothing(alice: Person, media: Path) -> None:
    def gpu_ms(**fields: Any) -> int:
        asked = {**BODY, "num_inference_steps": 8, **fields}
        answer = alice.api.post("/api/v1/estimates", asked, content_type="application/json")
        assert answer.status_code == 200, answer.content
        return int(answer.json()["gpu_ms"])

    whole = gpu_ms(width=64, height=64)
    assert gpu_ms(image=RED, strength=1.0) == whole
    assert gpu_ms(image=RED, strength=0.5) == pytest.approx(whole / 2, abs=1)
    assert gpu_ms(image=RED, strength=0.01) == pytest.approx(whole / 8, abs=1)  # one step, always
    assert inputs_of(alice) == [] and files_in(media) == set() and rows(alice) == []


def test_an_estimate_decodes_no_picture_of_the_studio(
    alice: Person, mallory: Person, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page asks for one whenever its form has changed."""
    submit(alice)
    image = finish(alice, rows(alice)[0].pk, media)
    asked = {**BODY, "image": str(image.pk), "strength": 0.5}
    for name in ("width", "height"):
        asked.pop(name, None)
    usual = alice.api.post("/api/v1/images", asked, content_type="application/json").json()

    def read(*args: Any, **values: Any) -> None:
        raise AssertionError("the guard was asked")

    monkeypatch.setattr("generation.domain.inputs.normalise_picture", read)
    answer = alice.api.post("/api/v1/estimates", asked, content_type="application/json")
    assert answer.status_code == 200, answer.content
    assert (answer.json()["width"], answer.json()["height"]) == (usual["width"], usual["height"])
    foreign = mallory.api.post("/api/v1/estimates", asked, content_type="application/json")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("own", "asked", "becomes"),
    [
        ((64, 96), {}, (64, 96)),
        ((100, 70), {}, (96, 64)),
        ((3000, 1500), {}, (2048, 1024)),
        ((16, 400), {}, (16, 400)),
        ((100, 50), {"width": 256}, (256, 128)),
        ((100, 50), {"height": 256}, (512, 256)),
        ((100, 50), {"width": 64, "height": 64}, (64, 64)),
    ],
)
def test_the_size_follows_the_picture(
    alice: Person, own: tuple[int, int], asked: dict[str, int], becomes: tuple[int, int]
) -> None:
    offer("demo", ["image-to-image"], size_multiple=16, max_width=2048, max_height=2048)
    answer = submit(alice, image=data_url(png(*own)), **asked)
    assert answer.status_code == 202, answer.content
    [row] = rows(alice)
    assert (row.width, row.height) == becomes


def test_the_size_keeps_to_the_plan(alice: Person) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(max_pixels=256 * 256))
    offer("demo", ["image-to-image"], size_multiple=16, max_width=2048, max_height=2048)
    assert submit(alice, image=data_url(png(700, 500))).status_code == 202
    [row] = rows(alice)
    assert row.width * row.height <= 256 * 256 and row.width == pytest.approx(row.height * 1.4, abs=20)


def test_a_picture_whose_file_is_gone_is_not_found(alice: Person, media: Path) -> None:
    submit(alice)
    image = finish(alice, rows(alice)[0].pk, media)
    (media / image.file).unlink()
    assert submit(alice, image=str(image.pk)).status_code == 404


def test_a_lost_file_is_written_again(alice: Person, media: Path) -> None:
    assert store(alice).status_code == 201
    [row] = inputs_of(alice)
    (media / row.file).unlink()
    assert store(alice).json()["id"] == str(row.pk)
    assert hashlib.sha256((media / row.file).read_bytes()).hexdigest() == row.sha256


@pytest.mark.parametrize("fields", [{"image": RED, "mask": RED}, {"images": RED}, {"image": "x"}, {"file": 1}])
def test_one_picture_is_stored_at_a_time(alice: Person, fields: dict[str, Any]) -> None:
    answer = store(alice, **fields)
    assert answer.status_code == 400 and answer.json()["errors"]
    assert inputs_of(alice) == []


def test_an_input_by_part(alice: Person, media: Path) -> None:
    answer = alice.api.post(INPUTS, {"mask": Upload("m.png", mask(), "application/octet-stream")})
    assert answer.status_code == 201, answer.content
    assert (answer.json()["kind"], answer.json()["width"]) == ("mask", 64)
    assert Picture.open(media / inputs_of(alice)[0].file).mode == "L"


def test_a_grid_shares_its_picture(alice: Person, media: Path) -> None:
    offer_lora("style")
    asked = {**BODY, "image": RED, "strength": 0.5, "lora": "style", "scales": [0, 1]}
    answer = alice.api.post("/api/v1/grids", asked, content_type="application/json")
    assert answer.status_code == 202, answer.content
    assert {row.task for row in rows(alice)} == {"image-to-image"} and len(inputs_of(alice)) == 1
    assert len({row.params["images"][0]["id"] for row in rows(alice)}) == 1
