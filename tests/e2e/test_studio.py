"""Sign in, ask, watch, reload in mid-pass, take the picture home: in a real browser, on the whole stack."""

from __future__ import annotations

import hashlib
import signal

import pytest
from playwright.sync_api import expect

from tests.chaos.rig import Rig
from tests.e2e.conftest import ENGINE, Visitor, wait_for_image
from tests.factories import Person

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def alice_with_password(alice: Person) -> Person:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    return alice


def test_a_picture_from_a_prompt(rig: Rig, visitor: Visitor, alice_with_password: Person) -> None:
    alice = alice_with_password
    rig.start_worker(engine=ENGINE, lease=600, SLEEPING_STEP_S="3")
    rig.wait_for_worker()
    page = visitor.page
    visitor.sign_in(alice.user.email, PASSWORD)
    expect(page.locator("#empty")).to_be_visible()

    # 1. Ask with the keyboard, watch the steps and the preview
    page.fill("#prompt", "a white house on the left of a meadow at night")
    page.keyboard.press("Control+Enter")
    card = page.locator(".work").first
    expect(card).to_have_attribute("data-status", "running")
    expect(card.locator("[data-state]")).to_contain_text("of 4")
    expect(card.locator(".tile-preview")).to_be_visible()

    # 2. A reload in mid-pass finds it again, however long it takes
    rig.signal("worker", signal.SIGSTOP)
    page.reload()
    page.wait_for_selector("#studio[data-ready]")
    again = page.locator(".work").first
    expect(again).to_have_attribute("data-status", "running")
    expect(again.locator(".work-prompt")).to_have_text("a white house on the left of a meadow at night")
    rig.signal("worker", signal.SIGCONT)

    # 3. The picture, and its file
    expect(again).to_have_attribute("data-status", "succeeded")
    picture = again.locator("img.tile-final")
    expect(picture).to_be_visible()
    assert wait_for_image(picture) == 64
    with page.expect_download() as download:
        again.locator("[data-download]").click()
    saved = hashlib.sha256(download.value.path().read_bytes()).hexdigest()
    assert rig.ask("SELECT sha256 FROM generation_image") == [(saved,)]
    assert download.value.suggested_filename.endswith(".png")

    # 4. The gallery has it, star and image page work
    page.click("nav a[href='/gallery/']")
    expect(page.locator(".shot img")).to_be_visible()
    page.wait_for_load_state()  # a click before the page's module has run is nobody's
    page.locator(".shot").first.hover()
    with page.expect_response(lambda answer: answer.request.method == "PATCH" and answer.ok):
        page.locator("[data-star]").first.click()
    expect(page.locator("[data-star]").first).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator("[data-star]").first).to_have_attribute("aria-pressed", "true")
    assert rig.ask("SELECT starred FROM generation_generation") == [(True,)]
    page.locator(".shot-link").first.click()
    expect(page.locator("[data-fact=sha]")).to_have_text(saved)

    assert visitor.foreign == []
    assert visitor.complaints == []


def test_cancel_errors_and_keys(rig: Rig, visitor: Visitor, alice_with_password: Person) -> None:
    alice = alice_with_password
    page = visitor.page
    visitor.sign_in(alice.user.email, PASSWORD)

    # 1. Nothing is running: the page says so, and what waits can be cancelled
    expect(page.locator("#notice")).to_contain_text("No GPU worker is running")
    page.fill("#prompt", "a red circle")
    page.click("#draw")
    card = page.locator(".work").first
    expect(card).to_have_attribute("data-status", "queued")
    card.locator("[data-cancel]").click()
    expect(card).to_have_attribute("data-status", "canceled")
    assert rig.ask("SELECT status FROM generation_generation") == [("canceled",)]

    # 2. An empty prompt never leaves; a bad seed is named beside its field
    page.fill("#prompt", "   ")
    page.click("#draw")
    expect(page.locator("#error-prompt")).to_be_visible()
    page.fill("#prompt", "a red circle")
    page.click("#more summary")
    page.fill("#seed", "minus one")
    page.click("#draw")
    expect(page.locator("#error-seed")).to_be_visible()
    assert rig.ask("SELECT count(*) FROM generation_generation") == [(1,)]

    # 3. A refusal of the server's stands beside its field too
    page.fill("#seed", "")
    page.evaluate("document.getElementById('width').value = 17")
    page.click("#draw")
    expect(page.locator("#error-size")).to_have_text("Width: must be a multiple of 16, got 17")
    assert rig.ask("SELECT count(*) FROM generation_generation") == [(1,)]
    refused, visitor.complaints[:] = list(visitor.complaints), []
    assert all("400" in complaint for complaint in refused)  # the browser notes the refused call itself

    # 4. The card of one's own model opens within its column, on a phone too
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 860})
        page.locator(".own").evaluate("card => card.open = true")
        wide = page.evaluate("[document.documentElement.scrollWidth, document.querySelector('.side').scrollWidth]")
        assert wide[0] <= width and wide[1] <= page.evaluate("document.querySelector('.side').offsetWidth"), wide
    page.set_viewport_size({"width": 1280, "height": 860})
    page.locator(".own").evaluate("card => card.open = false")
    for part in ("#draw", ".composer", ".own"):  # whole: what is higher than the window scrolls within its card
        box = page.locator(part).bounding_box()
        assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 860, (part, box)

    # 5. A key is shown once
    page.goto(f"{visitor.url}/keys/")
    page.fill("[name=name]", "ci")
    page.click("form .button-main")
    secret = page.locator("#secret").inner_text()
    assert secret.startswith("qs_live_")
    expect(page.locator("#sample-curl")).to_contain_text(secret)
    page.goto(f"{visitor.url}/keys/")
    assert secret not in page.content()

    # 6. Chinese, dark, and out
    page.click(".look button")
    expect(page.locator("h1")).to_have_text("API 密钥")
    page.click("[data-theme-toggle]")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.click("[data-menu] summary")
    page.click(".menu-item")
    expect(page.locator("[name=password]")).to_be_visible()

    assert visitor.foreign == []
    assert visitor.complaints == []
