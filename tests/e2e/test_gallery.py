"""The gallery in a real browser: search, select by keyboard, zip with progress, compare, delete; and without script."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chaos.rig import Rig
from tests.e2e.conftest import SLOW_MS, Visitor
from tests.factories import Person
from tests.generation.api.calls import finish, submitted

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def drawn(alice: Person, media: Path) -> list[str]:
    """Forty pictures, newest last: more than one piece of the wall."""
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    ids = []
    for number in range(40):
        prompt = f"a white house number {number}" if number % 2 else f"草地上的第{number}座房子"
        generation = submitted(alice, prompt=prompt, width=64, height=64, seed=number)
        finish(alice, generation, media)
        ids.append(str(generation))
    return ids


def wait_for_wall(page: Page, count: int) -> None:
    expect(page.locator("[data-pick]")).to_have_count(count)


def test_search_select_zip_compare_delete(rig: Rig, visitor: Visitor, alice: Person, drawn: list[str]) -> None:
    page = visitor.page
    visitor.sign_in(alice.user.email, PASSWORD)
    page.goto(f"{visitor.url}/gallery/")
    wait_for_wall(page, 36)

    # 1. The wall goes on by itself, and by the keyboard alone
    page.locator("[data-pick]").nth(35).focus()
    page.keyboard.press("End")
    wait_for_wall(page, 40)
    assert page.locator("#more-shots").count() == 0

    # 2. Search in both scripts, with filters; the address says what is shown
    page.fill("[data-search]", "房子 草地")
    wait_for_wall(page, 20)
    assert "q=" in page.url
    page.fill("[data-search]", "HOUSE ３１")
    wait_for_wall(page, 1)
    page.fill("[data-search]", "100%")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    page.fill("[data-search]", "")
    wait_for_wall(page, 36)
    page.locator(".filter-more summary").click()
    page.fill("#f-seed", "7")
    wait_for_wall(page, 1)
    page.fill("#f-seed", "")
    wait_for_wall(page, 36)
    page.locator(".filter-more summary").click()

    # 3. Select with the keyboard; with Shift a range; Escape lets go
    bar = page.locator("#chosen-bar")
    expect(bar).to_be_hidden()
    page.locator("[data-pick]").nth(0).focus()
    page.keyboard.press("Space")
    expect(page.locator("#chosen-count")).to_have_text("1 selected")
    page.locator(".shot").nth(4).hover()
    page.locator(".pick").nth(4).click(modifiers=["Shift"])
    expect(page.locator("#chosen-count")).to_have_text("5 selected")
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()

    # 4. What is selected stays so while something else is searched; all that is found
    page.locator("[data-pick]").nth(1).focus()
    page.keyboard.press("Space")
    page.fill("[data-search]", "house")
    wait_for_wall(page, 20)
    expect(page.locator("#chosen-count")).to_have_text("1 selected")
    bar.locator("[data-do=all]").click()
    expect(page.locator("#chosen-count")).to_have_text("20 selected")

    # 5. A zip: waiting, then there, without a reload
    bar.locator("[data-do=zip]").click()
    expect(bar).to_be_hidden()
    expect(page.locator("#selections")).to_contain_text("Zip of 20 pictures")
    rig.start_errands()
    link = page.locator("#selections a[download]")
    expect(link).to_be_visible()
    with page.expect_download() as download:
        link.click()
    with zipfile.ZipFile(download.value.path()) as bundle:
        assert len(bundle.namelist()) == 20 and bundle.testzip() is None

    # 6. Two side by side
    for place in (0, 1):
        page.locator("[data-pick]").nth(place).focus()
        page.keyboard.press("Space")
    bar.locator("[data-do=compare]").click()
    expect(page.locator(".compare-side img")).to_have_count(2)
    expect(page.locator(".differs").first).to_be_visible()
    page.go_back()
    wait_for_wall(page, 20)

    # 7. Delete: asked, done, gone from the wall and the disk's rows
    for place in (0, 1, 2):
        page.locator("[data-pick]").nth(place).focus()
        page.keyboard.press("Space")
    bar.locator("[data-do=delete]").click()
    expect(page.locator("#confirm")).to_contain_text("Delete 3 requests?")
    page.locator("#confirm button[value=no]").click()
    assert rig.ask("SELECT count(*) FROM generation_generation") == [(40,)]
    bar.locator("[data-do=delete]").click()
    page.locator("#confirm [data-confirm-yes]").click()
    wait_for_wall(page, 17)
    assert rig.ask("SELECT count(*) FROM generation_generation") == [(37,)]

    # 8. The same again and with another seed lead to the studio
    page.locator(".shot-link").first.click()
    page.get_by_role("button", name="Vary").click()
    page.wait_for_selector("#studio[data-ready]")
    assert rig.ask("SELECT count(*) FROM generation_generation WHERE retry_of IS NOT NULL") == [(1,)]

    assert visitor.foreign == []
    assert visitor.complaints == []


def test_without_script(rig: Rig, visitor: Visitor, browser: Browser, alice: Person, drawn: list[str]) -> None:
    visitor.sign_in(alice.user.email, PASSWORD)
    context = browser.new_context(
        java_script_enabled=False,
        locale="en-GB",
        storage_state=visitor.page.context.storage_state(),  # type: ignore[arg-type]
    )
    context.set_default_timeout(SLOW_MS)
    try:
        page = context.new_page()
        page.goto(f"{visitor.url}/gallery/")
        wait_for_wall(page, 36)
        page.locator("a[rel=next]").click()
        wait_for_wall(page, 4)
        page.locator("a[rel=prev]").click()
        wait_for_wall(page, 36)
        page.fill("[data-search]", "草地")
        page.get_by_role("button", name="Search").click()
        wait_for_wall(page, 20)
        for place in (0, 1):
            page.locator("[data-pick]").nth(place).check(force=True)
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".compare-side img")).to_have_count(2)
        page.goto(f"{visitor.url}/gallery/")
        for place in (0, 1):
            page.locator("[data-pick]").nth(place).check(force=True)
        page.get_by_role("button", name="Zip").click()
        expect(page.locator("#selections")).to_contain_text("Zip of 2 pictures")
        page.locator("[data-pick]").nth(0).check(force=True)
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.locator(".notice")).to_contain_text("Deleted for good.")
        assert rig.ask("SELECT count(*) FROM generation_generation") == [(39,)]
    finally:
        context.close()
