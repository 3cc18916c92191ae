"""The official OpenAI clients, Python's and Node's, unchanged: against the real server, a worker behind it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from django.db import connection
from PIL import Image as Picture

from accounts.domain.keys import revoke_key
from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.models import Model
from qwenstudio.embedded import Services
from tests.chaos.rig import Rig, offer_sleeping_model, wait_for, wait_until
from tests.chaos.sleeping import Latents, draw
from tests.factories import Person, make_plan
from tests.generation.api.calls import finish, ledger, rows
from tests.needs import find_node
from tests.pictures import encode, png
from tests.qwenstudio.fronts import RunningFront, running_front

pytestmark = pytest.mark.timeout(600)
HERE = Path(__file__).resolve().parent
SLOWER = "0.5"  # who asks for two previews of four is to be there before the third
IMPATIENT = httpx.Timeout(60, read=1)  # of an answer; the request itself is sent
WANTED: dict[str, Any] = {"model": "demo", "prompt": "a white house", "size": "64x64"}


@pytest.fixture(scope="module")
def front(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    with running_front(tmp_path_factory.mktemp("front")) as found:
        yield found


@pytest.fixture
def rig(db: object, services: Services, media: Path, tmp_path: Path, front: RunningFront) -> Iterator[Rig]:
    """A worker that sleeps instead of drawing, and shows previews."""
    offer_sleeping_model()
    found = Rig(services, tmp_path, {"SLEEPING_PREVIEWS": "1", "SLEEPING_STEP_S": "0.2"})
    try:
        yield found
    finally:
        found.close()


def client_of(front: RunningFront, person: Person, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{front.url}/v1", api_key=person.secret, **more)


def picture_of(data: str) -> Picture.Image:
    return Picture.open(io.BytesIO(base64.b64decode(data)))


def test_python_makes_pictures(front: RunningFront, rig: Rig, alice: Person, media: Path) -> None:
    rig.start_worker()
    client = client_of(front, alice)
    made = client.images.generate(**WANTED, n=2, user="u-1", extra_body={"seed": 41, "num_inference_steps": 5})
    assert made.data is not None and made.usage is not None
    stored = sorted(path.read_bytes() for path in media.rglob("*.png"))
    assert sorted(base64.b64decode(one.b64_json or "") for one in made.data) == stored
    assert (made.size, made.output_format, made.background, made.quality) == ("64x64", "png", "opaque", None)
    assert made.safety_identifier == "u-1"
    # The sleeping engine counts words.
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (3, 32, 35)
    [row] = rows(alice)
    assert (row.seed, row.steps, row.n, row.key) == (41, 5, 2, alice.key.pk)
    assert made.created == int(row.finished_at.timestamp())
    assert ledger(alice)["images"] == 2

    small = client.images.generate(
        **WANTED, output_format="jpeg", output_compression=20, quality="low", extra_body={"seed": 7}
    )
    content = base64.b64decode((small.data or [])[0].b64_json or "")
    assert content == draw(Latents("", "", 7, 64, 64), "jpeg", 20).file.data
    linked = client.images.generate(**WANTED, response_format="url", output_format="webp")
    answer = httpx.get((linked.data or [])[0].url or "", timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").object == "model"


def test_python_watches_pictures_come(front: RunningFront, rig: Rig, alice: Person) -> None:
    rig.start_worker(SLEEPING_STEP_S=SLOWER)
    rig.wait_for_worker()
    events = list(
        client_of(front, alice).images.generate(**WANTED, stream=True, partial_images=2, output_format="webp")
    )
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [getattr(event, "partial_image_index", None) for event in events] == [0, 1, None]
    for event in events:
        assert (picture_of(event.b64_json).format, picture_of(event.b64_json).size) == ("WEBP", (64, 64))
        assert (event.output_format, event.size, event.background) == ("webp", "64x64", "opaque")


async def test_python_waits_for_many_at_once(front: RunningFront, rig: Rig, alice: Person) -> None:
    rig.start_worker(SLEEPING_STEP_S="0.02")
    async with openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key=alice.secret, max_retries=0) as client:
        made = await asyncio.gather(*(client.images.generate(**WANTED, extra_body={"seed": n}) for n in range(12)))
    assert len({(one.data or [])[0].b64_json for one in made}) == 12


def test_python_is_refused(front: RunningFront, rig: Rig, alice: Person, mallory: Person) -> None:
    client = client_of(front, alice, max_retries=0)
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.generate(**{**WANTED, "size": "63x63"})
    assert (wrong.value.param, wrong.value.code, wrong.value.type) == (
        "size", "invalid_request", "invalid_request_error"
    )  # fmt: skip
    assert wrong.value.request_id
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(**{**WANTED, "model": "nobodys"})
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobodys")
    with pytest.raises(openai.AuthenticationError) as unknown:
        openai.OpenAI(base_url=f"{front.url}/v1", api_key="sk-wrong").images.generate(**WANTED)
    assert unknown.value.code == "invalid_api_key"
    Model.objects.update(spec=Model.objects.get(slug="demo").spec | {"tasks": ["text-to-image"]})
    with pytest.raises(openai.BadRequestError) as edit:
        client.images.edit(model="demo", prompt="x", image=("a.png", b"x", "image/png"))
    assert (edit.value.code, edit.value.param) == ("task_not_offered", "model")
    offer_every_task()
    with pytest.raises(openai.BadRequestError) as broken:
        client.images.edit(model="demo", prompt="x", image=("a.png", b"x", "image/png"))
    assert (broken.value.code, broken.value.param) == ("picture_refused", "image")
    with pytest.raises(openai.BadRequestError) as small:
        client.images.edit(model="demo", prompt="x", image=png(64, 64), mask=png(32, 32, (0, 0, 0, 0), "RGBA"))
    assert small.value.param == "mask" and "one size" in small.value.message
    with across_tenants():
        Tenant.objects.filter(pk=mallory.tenant.pk).update(plan=make_plan(images_per_day=1))
    with pytest.raises(openai.RateLimitError) as full:
        client_of(front, mallory, max_retries=0).images.generate(**WANTED, n=2)
    assert (full.value.code, full.value.type) == ("insufficient_quota", "insufficient_quota")
    assert full.value.response.headers["x-ratelimit-limit-requests"]
    assert rows(alice) == [] and rows(mallory) == []


def offer_every_task() -> None:
    """Nobody draws these here: `drawn_meanwhile` ends them."""
    spec = Model.objects.get(slug="demo").spec
    for slug, tasks in (("demo", ["text-to-image", "image-to-image", "inpaint"]), ("editor", ["edit"])):
        Model.objects.update_or_create(
            slug=slug,
            defaults={
                "title": slug,
                "pool": "demo",
                "position": 9,
                "spec": spec | {"tasks": tasks, "family": "qwen-image-edit" if "edit" in tasks else "qwen-image"},
            },
        )


@contextmanager
def drawn_meanwhile(person: Person, media: Path) -> Iterator[None]:
    """Ends, as a worker would leave it, whatever starts from a picture."""
    over = threading.Event()

    def draw_all() -> None:
        while not over.wait(0.1):
            for row in rows(person):
                if row.task != "text-to-image" and row.status == "queued":
                    finish(person, row.pk, media)
        connection.close()

    thread = threading.Thread(target=draw_all)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def openai_mask() -> bytes:
    whole = Picture.new("RGBA", (64, 64), (255, 255, 255, 255))
    whole.paste((0, 0, 0, 0), (0, 0, 32, 64))
    return encode(whole)


def test_python_edits_pictures(front: RunningFront, rig: Rig, alice: Person, media: Path) -> None:
    offer_every_task()
    client = client_of(front, alice)
    with drawn_meanwhile(alice, media):
        made = client.images.edit(
            model="demo", prompt="a red house", image=("a.png", png(96, 64)), size="96x64",
            extra_body={"seed": 41, "strength": 0.5},
        )  # fmt: skip
        masked = client.images.edit(model="demo", prompt="x", image=png(), mask=openai_mask(), n=1, user="u-1")
        several = client.images.edit(model="editor", prompt="both", image=[png(), png(colour="blue")])
        events = list(client.images.edit(model="demo", prompt="x", image=png(), stream=True, partial_images=1))
    assert made.usage is not None and made.usage.input_tokens_details.image_tokens == 24
    assert picture_of((made.data or [])[0].b64_json or "").size == (64, 64)  # what `finish` leaves
    assert masked.safety_identifier == "u-1" and len(several.data or []) == 1
    assert events[-1].type == "image_edit.completed"
    first, second, third, fourth = rows(alice)
    assert [row.task for row in (first, second, third, fourth)] == [
        "image-to-image",
        "inpaint",
        "edit",
        "image-to-image",
    ]
    assert (first.seed, first.width, first.params["strength"]) == (41, 96, 0.5)
    mask = Picture.open(media / second.params["mask"]["file"])
    assert (mask.mode, mask.getpixel((0, 0)), mask.getpixel((63, 0))) == ("L", 255, 0)
    assert len(third.params["images"]) == 2


def test_python_loses_its_key_while_it_waits(front: RunningFront, rig: Rig, alice: Person) -> None:
    """Nobody draws here. What was accepted goes on: it is the tenant's."""
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(client_of(front, alice, max_retries=0).images.generate, **WANTED)
        wait_until(lambda: bool(rows(alice)), seconds=60, what="a stored request")
        with in_tenant(alice.tenant.pk):
            revoke_key(by=alice.caller, key_id=alice.key.pk)
        with pytest.raises(openai.AuthenticationError) as refused:
            asking.result(60)
    assert refused.value.code == "invalid_api_key"
    assert [row.status for row in rows(alice)] == ["queued"]


def test_python_works_while_redis_hangs(front: RunningFront, rig: Rig, alice: Person) -> None:
    rig.start_worker()
    rig.wait_for_worker()
    with rig.frozen_valkey():
        made = client_of(front, alice).images.generate(**WANTED)
        events = list(client_of(front, alice).images.generate(**WANTED, stream=True, partial_images=3))
    assert made.data and events[-1].type == "image_generation.completed"


def test_python_leaves_and_the_picture_is_drawn(front: RunningFront, rig: Rig, alice: Person) -> None:
    with pytest.raises(openai.APITimeoutError):
        client_of(front, alice, max_retries=0, timeout=IMPATIENT).images.generate(**WANTED)
    wait_until(lambda: bool(rows(alice)), seconds=60, what="a stored request")
    [row] = rows(alice)
    assert row.status == "queued"
    rig.start_worker()
    wait_for(rig, row.pk, "succeeded")
    assert ledger(alice)["images"] == 1


def test_python_sends_the_same_again(front: RunningFront, rig: Rig, alice: Person) -> None:
    """With an idempotency key a client that lost its connection gets the first one's picture."""
    key = {"Idempotency-Key": "order-17"}
    rig.start_worker(SLEEPING_STEP_S="0.5")
    rig.wait_for_worker()
    with pytest.raises(openai.APITimeoutError):
        client_of(front, alice, max_retries=0, timeout=IMPATIENT).images.generate(**WANTED, extra_headers=key)
    again = client_of(front, alice, max_retries=20).images.generate(**WANTED, extra_headers=key)
    assert again.data and len(rows(alice)) == 1 and ledger(alice)["images"] == 1


@pytest.mark.needs_openai_node
def test_node_does_the_same(front: RunningFront, rig: Rig, alice: Person, media: Path) -> None:
    offer_every_task()
    rig.start_worker(SLEEPING_STEP_S=SLOWER)
    rig.wait_for_worker()
    node = find_node()
    assert node is not None
    environment = {**os.environ, "OPENAI_BASE_URL": f"{front.url}/v1", "OPENAI_API_KEY": alice.secret}
    environment |= {"PICTURE": b64encode(png()).decode(), "MASK": b64encode(openai_mask()).decode()}
    with drawn_meanwhile(alice, media):
        done = subprocess.run(
            [node, "images.mjs"], cwd=HERE, env=environment, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert [model["id"] for model in told["models"]] == ["demo", "editor"]
    assert told["model"]["object"] == "model"
    assert picture_of(told["whole"]["data"][0]["b64_json"]).size == (64, 64)
    assert told["whole"]["usage"]["total_tokens"] == 3 + 16
    assert len(told["limits"]) == 6
    assert told["linked"] == {"count": 2, "status": 200, "type": "image/png"}
    assert [event["type"] for event in told["events"]] == [
        *["image_generation.partial_image"] * 2, "image_generation.completed"
    ]  # fmt: skip
    assert told["wrongSize"] == {
        "name": "BadRequestError", "status": 400, "code": "invalid_request", "param": "size",
        "type": "invalid_request_error",
    }  # fmt: skip
    assert (told["noModel"]["name"], told["noModel"]["code"]) == ("NotFoundError", "model_not_found")
    assert (told["noPicture"]["name"], told["noPicture"]["code"]) == ("BadRequestError", "picture_refused")
    assert picture_of(told["edited"]["data"][0]["b64_json"]).size == (64, 64)
    assert (told["several"], told["changes"]) == (1, ["image_edit.completed"])
    assert sorted(row.task for row in rows(alice) if row.task != "text-to-image") == [
        "edit", "image-to-image", "inpaint"
    ]  # fmt: skip
    assert (told["noKey"]["name"], told["noKey"]["code"]) == ("AuthenticationError", "invalid_api_key")
