"""The demo page with the true engine, in a real browser: words, a picture, a marked part, a LoRA, each to its end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from playwright.sync_api import Locator, Page, expect

from generation.domain.lorafiles import add_lora
from generation.engine.catalog import PROJECT_ROOT, read_catalog
from generation.engine.demo.train_portrait import LORA
from generation.models import Model
from tests.chaos.rig import Rig
from tests.e2e.conftest import Visitor
from tests.e2e.every_page import session_of
from tests.e2e.test_inputs import stroke
from tests.factories import Person

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
LONG_MS = 240_000  # a worker with torch loads first
Pixels = np.ndarray[Any, np.dtype[np.int64]]


@pytest.fixture
def studio(rig: Rig, visitor: Visitor, alice: Person) -> Page:
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo")
    Model.objects.filter(slug="demo").update(spec=spec.to_table(), title="Demo")
    add_lora(slug="portrait", family="qwen-image", file=LORA, title="Portrait")
    rig.start_worker(engine="", lease=600)
    page = visitor.page
    page.context.add_cookies([{**session_of(alice.user), "url": visitor.url}])  # type: ignore[list-item]
    page.goto(f"{visitor.url}/studio/")
    page.wait_for_selector("#studio[data-ready]")
    return page


def draw(page: Page, prompt: str, *, count: int, seed: str = "5") -> Locator:
    """Send the form, and wait for the newest card's picture."""
    page.fill("#prompt", prompt)
    if not page.locator("#seed").is_visible():
        page.click("details:has(#seed) > summary")
    page.fill("#seed", seed)
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(count)
    card = page.locator(".work").first
    expect(card).to_have_attribute("data-status", "succeeded", timeout=LONG_MS)
    expect(card.locator("img.tile-final")).to_be_visible()
    return card


def newest(rig: Rig, media: Path) -> Pixels:
    [[file]] = rig.ask("SELECT file FROM generation_image ORDER BY created_at DESC LIMIT 1")
    return np.asarray(Picture.open(media / str(file)).convert("RGB")).astype(np.int64)


def middle(pixels: Pixels) -> Pixels:
    side = pixels.shape[0]
    colour: Pixels = pixels[side * 3 // 8 : side * 5 // 8, side * 3 // 8 : side * 5 // 8].reshape(-1, 3).mean(axis=0)
    return colour


def test_every_task_to_its_picture(studio: Page, rig: Rig, visitor: Visitor, media: Path) -> None:
    page = studio

    # 1. Words
    draw(page, "a large red circle on a white background", count=1)
    red = newest(rig, media)
    assert middle(red)[0] > 180 > 120 > middle(red)[2]

    # 2. From that picture: strong enough to change its colour, not its place
    out = io.BytesIO()
    Picture.fromarray(red.astype(np.uint8)).save(out, "PNG")
    page.set_input_files("#picture-file", {"name": "red.png", "mimeType": "image/png", "buffer": out.getvalue()})
    expect(page.locator(".input-picture img")).to_be_visible()
    page.locator("#strength").fill("0.75")
    card = draw(page, "a large blue circle on a white background", count=2)
    expect(card.locator("[data-meta]")).to_contain_text("from a picture · strength 0.75")
    blue = newest(rig, media)
    assert middle(blue)[2] > 150 > 110 > middle(blue)[0]

    # 3. A part of it: the brush takes the circle out of the middle, the rest stays to the pixel
    page.locator("#strength").fill("1")
    page.click("#inputs [data-mark]")
    expect(page.locator("#mask-dialog")).to_be_visible()
    room = page.locator("#mask-dialog canvas").bounding_box()
    assert room is not None
    at = lambda x, y: (room["x"] + room["width"] * x, room["y"] + room["height"] * y)  # noqa: E731
    for y in (0.25, 0.33, 0.41, 0.49, 0.57, 0.65, 0.73):
        stroke(page, at(0.22, y), at(0.78, y))
    page.click("[data-mask-use]")
    card = draw(page, "a large yellow star on a white background", count=3)
    expect(card.locator("[data-meta]")).to_contain_text("a part drawn anew")
    star = newest(rig, media)
    assert np.abs(middle(star) - (250, 210, 60)).max() < 45
    edge = np.ones(star.shape[:2], bool)
    edge[16:-16, 16:-16] = False
    assert np.array_equal(star[edge], red[edge])

    # 4. A LoRA: at 0 the picture without it, and the further the stronger
    page.click("[data-remove]")
    expect(page.locator(".input-picture")).to_have_count(0)
    prompt = "a portrait with red hair on a blue background"
    draw(page, prompt, count=4)
    faces = [newest(rig, media)]
    page.locator("input[name=lora][value=portrait]").check()
    for count, scale in enumerate(("0", "0.5", "1"), start=5):
        page.locator("input[name=scale-portrait]").fill(scale)
        draw(page, prompt, count=count)
        faces.append(newest(rig, media))
    moved = [float(np.abs(face - faces[0]).mean()) for face in faces[1:]]
    assert moved[0] == 0 and 10 < moved[1] < moved[2]
    assert visitor.foreign == []
    assert visitor.complaints == []
