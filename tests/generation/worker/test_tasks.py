"""A GPU worker with torch draws from pictures that came by the API, and fails only the row whose picture is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accounts.domain.media import media_path
from generation.models import Model
from tests.chaos.rig import Rig, make_entry, row_of, wait_for
from tests.factories import Person
from tests.generation.lorafiles import DEMO
from tests.pictures import data_url, encode

SIDE = 128


def ask(person: Person, **fields: Any) -> Any:
    body = {"model": "demo", "prompt": "a large blue circle on a white background", "seed": 5, "width": SIDE,
            "height": SIDE, **fields}  # fmt: skip
    answer = person.api.post("/api/v1/images", json.dumps(body), content_type="application/json")
    assert answer.status_code == 202, answer.content
    return answer.json()["id"]


def picture_of(rig: Rig, generation: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    [[file]] = rig.ask("SELECT file FROM generation_image WHERE generation_id = %s AND index = 0", generation)
    return np.asarray(Image.open(media_path(file)).convert("RGB")).astype(np.int64)


@pytest.mark.timeout(600)
def test_tasks_in_a_worker(rig: Rig, alice: Person, media: Path) -> None:
    entry = make_entry() | {"path": str(DEMO), "size_multiple": 32, "max_width": 256, "max_height": 256}
    entry.pop("tasks", None)  # all of the family's
    Model.objects.filter(slug="demo").update(spec=entry)
    red = Image.new("RGB", (SIDE, SIDE), "white")
    red.paste((220, 40, 40), (32, 32, 96, 96))
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (0, 0, SIDE, 64))
    start = {"image": data_url(encode(red))}
    text = ask(alice)
    weak, strong = (ask(alice, **start, strength=strength) for strength in (0.3, 1.0))
    inpainted = ask(alice, **start, mask=data_url(encode(mask)), strength=1.0)
    gone = ask(alice, image=data_url(encode(red.rotate(45))))
    [[params]] = rig.ask("SELECT params FROM generation_generation WHERE id = %s", gone)
    media_path(params["images"][0]["file"]).unlink()

    child = rig.start_worker(engine="")
    for generation in (text, weak, strong, inpainted):
        wait_for(rig, generation, "succeeded", seconds=300)
    wait_for(rig, gone, "failed", seconds=60)
    child.terminate()
    assert child.wait(60) == 0

    code, message, attempt = row_of(rig, gone, "error_code, error_message, attempt")
    assert (code, attempt) == ("input_refused", 1) and str(media) not in str(message)
    before = np.asarray(red).astype(np.int64)
    away = [np.abs(picture_of(rig, generation) - before).mean() for generation in (weak, strong)]
    assert away[0] < away[1] / 2
    # with strength 1 nothing is left of the picture: the text's own, byte for byte
    assert np.array_equal(picture_of(rig, strong), picture_of(rig, text))
    assert np.array_equal(picture_of(rig, inpainted)[64:], before[64:])
    assert np.abs(picture_of(rig, inpainted)[:64] - before[:64]).mean() > 5
    # it ran two of four steps, and that is what its cost stands for
    [[steps]] = rig.ask("SELECT steps FROM generation_cost WHERE task = 'image-to-image' ORDER BY steps LIMIT 1")
    assert steps == 2 and row_of(rig, weak, "step, steps") == (4, 4)
    receipts = dict(
        rig.ask(
            "SELECT i.generation_id::text, r.body"
            "  FROM generation_receipt r JOIN generation_image i ON i.id = r.image_id"
        )
    )
    assert receipts[weak]["strength"] == 0.3 and receipts[weak]["images"] == receipts[inpainted]["images"]
    assert receipts[inpainted]["mask"] and receipts[text]["images"] == []
