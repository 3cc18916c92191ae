"""Styles in the studio, in a real browser: choose one, move its strength by keyboard, compare strengths, take it again."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.chaos.rig import Rig
from tests.e2e.conftest import ENGINE, Visitor
from tests.factories import Person
from tests.generation.lorafiles import offer_lora

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


def test_strengths_by_keyboard_and_a_grid(rig: Rig, visitor: Visitor, alice: Person) -> None:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    offer_lora("portrait", description="Faces in soft light.", trigger_words="portrait, hair", max_scale=1.5)
    offer_lora("ink", description="Lines and washes.", default_scale=0.8)
    offer_lora("elsewhere", fits=["another-model"])
    rig.start_worker(engine=ENGINE, lease=600, SLEEPING_STEP_S="0.05")
    rig.wait_for_worker()
    page = visitor.page
    visitor.sign_in(alice.user.email, PASSWORD)
    expect(page.locator("[data-lora]:visible")).to_have_count(2)  # the third is for another model
    expect(page.locator("#loras input[type=range]:visible")).to_have_count(0)

    # 1. One style, its strength by keyboard
    page.fill("#prompt", "a red circle")
    page.locator("input[name=lora][value=portrait]").focus()
    page.keyboard.press("Space")
    strength = page.locator("input[name=scale-portrait]")
    expect(strength).to_be_visible()
    strength.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("[data-lora=portrait] output")).to_have_text("0.70")
    page.locator("[data-lora=portrait] [data-word]").first.click()
    expect(page.locator("#prompt")).to_have_value("a red circle, portrait")
    page.keyboard.press("Control+Enter")
    card = page.locator(".work").first
    expect(card).to_have_attribute("data-status", "succeeded")
    expect(card.locator("[data-meta]")).to_contain_text("portrait at 0.7")

    # 2. A grid: a row for each strength, the first above
    page.locator("#lora-grid input[name=grid]").check()
    expect(page.locator("[data-vary]")).to_be_hidden()  # one style: nothing to choose
    page.fill("#n", "2")
    page.fill("#grid-to", "9")
    page.click("#draw")
    expect(page.locator("#error-loras")).to_contain_text("each from -2 to 1.5")
    page.fill("#grid-to", "1")
    page.click("#draw")
    rows = page.locator(".work[data-grid]")
    expect(rows).to_have_count(3)
    for k, scale in enumerate(("0", "0.5", "1")):
        expect(rows.nth(k)).to_have_attribute("data-status", "succeeded")
        expect(rows.nth(k).locator("[data-meta]")).to_contain_text(f"portrait at {scale} ·")
        expect(rows.nth(k).locator("img.tile-final")).to_have_count(2)
    assert len(set(rig.ask("SELECT seed, n FROM generation_generation WHERE params ? 'grid'"))) == 1

    # 3. After a reload they stand as before; one of them is taken into the form, on a phone
    page.reload()
    page.wait_for_selector("#studio[data-ready]")
    expect(rows.nth(2).locator("[data-meta]")).to_contain_text("portrait at 1 ·")
    page.set_viewport_size({"width": 390, "height": 844})
    rows.nth(1).locator("[data-same]").click()
    expect(page.locator("input[name=lora][value=portrait]")).to_be_checked()
    expect(page.locator("[data-lora=portrait] output")).to_have_text("0.50")
    expect(page.locator("input[name=grid]")).not_to_be_checked()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    # 4. Two styles, one of them varies
    page.locator("input[name=lora][value=ink]").check()
    page.locator("#lora-grid input[name=grid]").check()
    page.select_option("#grid-lora", "ink")
    expect(page.locator("#grid-to")).to_have_value("0.8")
    page.fill("#grid-count", "2")
    page.click("#draw")
    expect(page.locator(".work[data-grid]")).to_have_count(5)
    both = "SELECT params->'loras' FROM generation_generation WHERE params ? 'grid' ORDER BY id DESC LIMIT 2"
    used = [[(use["name"], use["scale"]) for use in row] for (row,) in rig.ask(both)]
    assert used == [[("portrait", 0.5), ("ink", 0.8)], [("portrait", 0.5), ("ink", 0)]]
    assert visitor.foreign == []
    assert visitor.complaints == []
