"""Pictures to start from, in a real browser: chosen, dropped, marked with the brush and by keys, sent, drawn again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image as Picture
from playwright.sync_api import Page, Route, expect

from accounts.tenancy import in_tenant
from generation.models import Generation, InputFile, Model
from tests.chaos.rig import Rig, wait_until
from tests.e2e.conftest import Visitor
from tests.e2e.every_page import session_of
from tests.factories import Person
from tests.generation.api.calls import finish
from tests.generation.domain.desk import submit

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
DRAFT = "() => JSON.parse(Object.entries(sessionStorage).find(([key]) => key.startsWith('draft:'))?.[1] ?? '{}')"
SIDE = 320  # of the picture, in pixels


@pytest.fixture
def models(rig: Rig) -> None:
    """One that draws, starts from pictures and paints parts; one that edits; one that only draws."""
    spec = Model.objects.get(slug="demo").spec
    offers = {
        "demo": ["text-to-image", "image-to-image", "inpaint"],
        "editor": ["edit"],
        "words": ["text-to-image"],
    }
    for place, (slug, tasks) in enumerate(offers.items()):
        family = "qwen-image-edit" if tasks == ["edit"] else spec["family"]
        entry = spec | {"tasks": tasks, "family": family}
        values = {"title": slug.title(), "pool": "demo", "spec": entry, "position": place}
        Model.objects.update_or_create(slug=slug, defaults=values)


@pytest.fixture
def studio(models: None, visitor: Visitor, alice: Person) -> Page:
    page = visitor.page
    page.context.add_cookies([{**session_of(alice.user), "url": visitor.url}])  # type: ignore[list-item]
    open_studio(page, visitor)
    return page


def open_studio(page: Page, visitor: Visitor, query: str = "") -> None:
    page.goto(f"{visitor.url}/studio/{query}")
    page.wait_for_selector("#studio[data-ready]")


def file(name: str = "house.png", size: tuple[int, int] = (SIDE, SIDE), colour: str = "#88aa44") -> dict[str, Any]:
    out = io.BytesIO()
    Picture.new("RGB", size, colour).save(out, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": out.getvalue()}


def choose(page: Page, *files: dict[str, Any]) -> None:
    page.set_input_files("#picture-file", files[0] if len(files) == 1 else list(files))  # type: ignore[arg-type]


def wait_for_draft(page: Page, name: str, value: Any) -> None:
    # Not by wait_for_function: it evaluates text in the page, whose policy forbids that.
    wait_until(lambda: page.evaluate(DRAFT).get(name) == value, seconds=30, what=f"a draft with {name} {value!r}")


def row_of(person: Person) -> Generation:
    with in_tenant(person.tenant.pk):
        row: Generation = Generation.objects.order_by("-created_at", "-id")[0]
    return row


def mask_of(person: Person, row: Generation, media: Path) -> Picture.Image:
    with in_tenant(person.tenant.pk):
        stored = InputFile.objects.get(pk=row.params["mask"]["id"])
    assert stored.kind == "mask"
    return Picture.open(media / stored.file)


def share(mask: Picture.Image) -> float:
    """How much of it is white."""
    colours: Any = mask.convert("L").getcolors(256)
    return float(sum(value * count for count, value in colours)) / (255 * mask.width * mask.height)


def test_from_an_own_picture(studio: Page, visitor: Visitor, alice: Person) -> None:
    page = studio
    expect(page.locator("#inputs")).to_be_visible()
    expect(page.locator("#inputs [data-strength]")).to_be_hidden()

    # 1. What is no picture never leaves; a broken one is named at its field by the server
    choose(page, {"name": "a.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"})
    expect(page.locator("#error-image")).to_have_text("Please choose a PNG, JPEG or WebP.")
    choose(page, {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture at all"})
    expect(page.locator("#error-image")).to_contain_text("PNG, JPEG")
    refused, visitor.complaints[:] = list(visitor.complaints), []
    assert len(refused) == 1 and "400" in refused[0]  # the browser notes the refused call itself

    # 2. One of ours: kept, shown, and the size follows it
    choose(page, file(size=(256, 128)))
    expect(page.locator(".input-picture img")).to_be_visible()
    expect(page.locator("#error-image")).to_be_hidden()
    expect(page.locator("#sizes input:checked")).to_have_value("256x128")
    expect(page.locator("#estimate")).to_contain_text("takes")
    page.fill("#prompt", "a red circle")
    page.locator("#strength").fill("0.35")
    page.click("#draw")
    card = page.locator(".work").first
    expect(card).to_have_attribute("data-status", "queued")
    expect(card.locator("[data-meta]")).to_contain_text("from a picture · strength 0.35")
    row = row_of(alice)
    assert (row.task, row.params["strength"], row.width, row.height) == ("image-to-image", 0.35, 256, 128)

    # 3. A reload loses nothing, and the picture is not sent again
    page.fill("#prompt", "a blue circle")
    wait_for_draft(page, "prompt", "a blue circle")
    page.reload()
    page.wait_for_selector("#studio[data-ready]")
    expect(page.locator("#prompt")).to_have_value("a blue circle")
    expect(page.locator(".input-picture img")).to_be_visible()
    assert page.locator("#strength").input_value() == "0.35"
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(2)
    assert row_of(alice).params["images"] == row.params["images"]

    # 4. The image page tells what it started from, and goes on from there
    page.goto(f"{visitor.url}/gallery/{row.pk}/")
    expect(page.locator(".picture-inputs img")).to_be_visible()
    facts = page.locator(".facts").inner_text()
    assert "Image to image" in facts and "0.35" in facts
    page.click("text=Use settings")
    page.wait_for_selector("#studio[data-ready]")
    expect(page.locator(".input-picture img")).to_be_visible()
    assert page.locator("#strength").input_value() == "0.35"
    assert "again=" not in page.url  # a reload keeps what is typed from here on

    # 5. Another model, no pictures; and out with it
    page.select_option("#model", "words")
    expect(page.locator("#inputs")).to_be_hidden()
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(3)
    assert row_of(alice).task == "text-to-image"
    page.select_option("#model", "demo")
    page.click("[data-remove]")
    expect(page.locator(".input-picture")).to_have_count(0)
    wait_for_draft(page, "inputs", [])
    page.click("[data-menu] summary")
    page.click("[data-sign-out] button")
    expect(page.locator("[name=password]")).to_be_visible()
    assert page.evaluate(DRAFT) == {}
    assert visitor.foreign == []
    assert visitor.complaints == []


def test_the_brush(studio: Page, visitor: Visitor, alice: Person, media: Path) -> None:
    page = studio
    choose(page, file())
    page.fill("#prompt", "a door")

    # 1. Nothing marked is nothing to use; a stroke is
    page.click("#inputs [data-mark]")
    dialog = page.locator("#mask-dialog")
    expect(dialog).to_be_visible()
    page.click("[data-mask-use]")
    expect(page.locator("#error-mask-dialog")).to_be_visible()
    room = page.locator("#mask-dialog canvas").bounding_box()
    assert room is not None
    at = lambda x, y: (room["x"] + room["width"] * x, room["y"] + room["height"] * y)  # noqa: E731
    stroke(page, at(0.2, 0.5), at(0.8, 0.5))
    page.click("[data-mask-use]")
    expect(dialog).to_be_hidden()
    expect(page.locator("#inputs [data-note]")).to_contain_text("Only the marked part")
    expect(page.locator(".input-frame [data-cover]")).to_be_visible()
    page.click("#draw")
    expect(page.locator(".work").first.locator("[data-meta]")).to_contain_text("a part drawn anew")
    row = row_of(alice)
    assert row.task == "inpaint"
    mask = mask_of(alice, row, media)
    assert mask.size == (SIDE, SIDE) and mask.mode == "L"
    assert {value for _, value in mask.getcolors(256) or ()} == {0, 255}
    assert (mask.getpixel((SIDE // 2, SIDE // 2)), mask.getpixel((SIDE // 2, 20))) == (255, 0)
    assert 0.06 < share(mask) < 0.14  # 0.6 × 0.15, and its two round ends

    # 2. It is there again to be changed: half of it erased, taken back, turned over
    page.click("#inputs [data-mark]")
    page.locator("[name=mask-tool][value=erase]").check(force=True)
    stroke(page, at(0.2, 0.5), at(0.5, 0.5))
    page.click("[data-mask-undo]")
    page.click("[data-mask-invert]")
    page.click("[data-mask-use]")
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(2)
    turned = mask_of(alice, row_of(alice), media)
    assert abs(share(turned) + share(mask) - 1) < 0.01
    assert turned.getpixel((SIDE // 2, SIDE // 2)) == 0

    # 3. By keys alone: cleared, the box moved by two arrows, filled
    page.click("#inputs [data-mark]")
    page.click("[data-mask-clear]")
    page.locator("[name=mask-tool][value=paint]").check(force=True)
    page.locator("#mask-dialog canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.click("[data-mask-use]")
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(3)
    boxed = mask_of(alice, row_of(alice), media)
    assert boxed.getbbox() == tuple(round(part * SIDE) for part in (0.4, 0.4, 0.8, 0.8))

    # 4. "Same seed" brings all of it back; the whole picture again is image to image
    page.locator(".work [data-cancel]").first.click()
    page.locator(".work [data-same]").first.click()
    expect(page.locator("#inputs [data-unmark]")).to_be_visible()
    page.click("#inputs [data-unmark]")
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(4)
    assert row_of(alice).task == "image-to-image"
    assert visitor.complaints == []


def test_an_earlier_mask_comes_late(studio: Page, alice: Person, media: Path) -> None:
    """What is painted while it is still on its way is kept, and so is the mask itself."""
    page = studio
    choose(page, file())
    page.fill("#prompt", "a door")
    page.click("#inputs [data-mark]")
    box(page, 0.0, 0.0)
    page.click("[data-mask-use]")
    expect(page.locator("#inputs [data-unmark]")).to_be_visible()
    wait_until(lambda: page.evaluate(DRAFT).get("mask"), seconds=30, what="a draft with its mask")
    address = page.evaluate(DRAFT)["mask"]["url"]
    held: list[Route] = []
    let_go: list[bool] = []
    page.route(f"**{urlsplit(address).path}*", lambda route: route.continue_() if let_go else held.append(route))
    page.reload(wait_until="commit")
    page.wait_for_selector("#studio[data-ready]")
    page.click("#inputs [data-mark]")
    box(page, 0.75, 0.75)
    page.click("[data-mask-use]")
    wait_until(lambda: page.evaluate("1") and held, seconds=30, what="the mask being asked for")
    expect(page.locator("#mask-dialog")).to_be_visible()  # it waits for the rest of what it is to use
    let_go.append(True)  # the thumbnail asks for it as well, and either may be the later
    for route in held:
        route.continue_()
    expect(page.locator("#mask-dialog")).to_be_hidden()
    page.click("#draw")
    expect(page.locator(".work")).to_have_count(1)
    mask = mask_of(alice, row_of(alice), media)
    corners = {place: mask.getpixel(place) for place in ((10, 10), (SIDE - 10, SIDE - 10), (SIDE // 2, SIDE // 2))}
    assert list(corners.values()) == [255, 255, 0]


def box(page: Page, x: float, y: float) -> None:
    """Fill a quarter of the sides at x, y, by numbers."""
    if not page.locator("[name=mask-x]").is_visible():
        page.click("[data-mask-numbers] summary")
    for name, value in (("x", x), ("y", y), ("width", 0.25), ("height", 0.25)):
        page.fill(f"[name=mask-{name}]", f"{value * 100:g}")
    page.click("[data-mask-box]")


def stroke(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()


def test_a_finger_on_a_phone(studio: Page, visitor: Visitor, alice: Person, media: Path) -> None:
    """Touch paints and does not scroll; everything fits into 390 pixels."""
    page = studio
    page.set_viewport_size({"width": 390, "height": 780})
    choose(page, file())
    page.click("#inputs [data-mark]")
    box = page.locator("#mask-dialog canvas").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert page.evaluate("document.querySelector('#mask-dialog').scrollWidth <= innerWidth")
    touch = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [(0.3, 0.3)]), ("touchMove", [(0.5, 0.5)]), ("touchMove", [(0.7, 0.7)]), ("touchEnd", []),
    ):  # fmt: skip
        where = [{"x": box["x"] + box["width"] * x, "y": box["y"] + box["height"] * y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
    page.click("[data-mask-use]")
    page.fill("#prompt", "a window")
    page.click("#draw")
    expect(page.locator(".work").first).to_have_attribute("data-status", "queued")
    mask = mask_of(alice, row_of(alice), media)
    assert mask.getpixel((SIDE // 2, SIDE // 2)) == 255
    assert mask.getpixel((20, SIDE - 20)) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_edit_and_start_from_the_history(studio: Page, visitor: Visitor, alice: Person, media: Path) -> None:
    page = studio
    done = submit(alice.caller, prompt="a red house")
    image = finish(alice, done, media)

    # 1. From the page of a picture, into a model that edits
    page.goto(f"{visitor.url}/gallery/{done}/")
    page.click("#start")
    page.wait_for_selector("#studio[data-ready]")
    expect(page.locator(".input-picture img")).to_be_visible()
    page.select_option("#model", "editor")
    expect(page.locator("#prompt")).to_have_attribute("placeholder", "Say what should change …")
    expect(page.locator("#inputs [data-strength]")).to_be_hidden()

    # 2. Two more by a drop, no fourth
    handle = page.evaluate_handle(
        """async (sides) => {
          const data = new DataTransfer();
          for (const side of sides) {
            const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
            canvas.getContext("2d").fillRect(0, 0, side, side);
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            data.items.add(new File([blob], `${side}.png`, { type: "image/png" }));
          }
          return data;
        }""",
        [48, 80, 96],
    )
    page.dispatch_event("#composer", "drop", {"dataTransfer": handle})
    expect(page.locator(".input-picture")).to_have_count(3)
    expect(page.locator("#error-image")).to_contain_text("3 at most")
    expect(page.locator("#inputs [data-drop]")).to_be_hidden()
    page.fill("#prompt", "make it blue")
    page.click("#draw")
    expect(page.locator(".work").first.locator("[data-meta]")).to_contain_text("edited")
    row = row_of(alice)
    assert row.task == "edit" and "strength" not in row.params
    assert [(one["width"], one["height"]) for one in row.params["images"]] == [(64, 64), (48, 48), (80, 80)]

    # 3. From a card, back into the model that starts from one
    card = page.locator(f"#work-{done}")
    page.select_option("#model", "words")
    card.locator("[data-start]").first.click()
    expect(page.locator("#model")).to_have_value("demo")
    expect(page.locator(".input-picture")).to_have_count(1)
    assert page.locator(".input-picture img").get_attribute("src") == f"{visitor.url}/files/{image.pk}"
    assert visitor.complaints == []
