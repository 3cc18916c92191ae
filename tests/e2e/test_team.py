"""An invitation from the form to the switcher: two people, two browsers, the mail in between read from the outbox."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, expect

from tests.chaos.rig import Rig, wait_until
from tests.e2e.conftest import SLOW_MS, Visitor
from tests.factories import Person

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


def with_password(person: Person) -> Person:
    person.user.set_password(PASSWORD)
    person.user.save(update_fields=["password"])
    return person


def link_to(address: str) -> str:
    """The path of the link in the newest mail to somebody."""
    found: list[str] = []

    def arrived() -> bool:
        for file in sorted(Path(settings.STUDIO_VAR, "mail").glob("*.eml")):
            message = message_from_bytes(file.read_bytes(), policy=policy.default)
            if message["To"] == address:
                found.extend(re.findall(r"/join/[\w-]+/", message.get_content()))
        return bool(found)

    wait_until(arrived, seconds=60, what=f"a mail to {address}")
    return found[-1]


def test_invited_joins_switches_and_changes_role(
    rig: Rig, visitor: Visitor, browser: Browser, alice: Person, mallory: Person
) -> None:
    for person in (alice, mallory):
        with_password(person)
    rig.start_errands()
    guest = mallory.user.email

    # 1. Alice invites somebody who has an account and an organisation of their own
    page = visitor.page
    visitor.sign_in(alice.user.email, PASSWORD)
    page.click("nav a[href='/team/']")
    page.fill("#id_email", guest)
    page.select_option("#id_role", "member")
    page.click(".invite .button-main")
    expect(page.locator(".notice")).to_contain_text(guest)
    expect(page.get_by_role("heading", name="Open invitations")).to_be_visible()

    # 2. The link of the mail: sign in first, then one click
    path = link_to(guest)
    other = browser.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
    other.set_default_timeout(SLOW_MS)
    theirs = Visitor(page=other.new_page(), url=visitor.url)
    theirs.watch()
    theirs.page.goto(f"{visitor.url}{path}")
    expect(theirs.page.locator("h1")).to_have_text("Join A")
    theirs.page.click(".gate-ways a:last-child")
    theirs.page.fill("[name=email]", guest)
    theirs.page.fill("[name=password]", PASSWORD)
    theirs.page.click("form .button-main")
    expect(theirs.page.locator("h1")).to_have_text("Join A")
    theirs.page.click("form .button-main")
    theirs.page.wait_for_selector("#studio[data-ready]")
    expect(theirs.page.locator(".notice")).to_have_text("Welcome to A.")

    # 3. The switcher goes home and back, and remembers
    expect(theirs.page.locator(".switcher-name")).to_have_text("A")
    switch_to(theirs.page, "B")
    theirs.page.reload()
    expect(theirs.page.locator(".switcher-name")).to_have_text("B")
    switch_to(theirs.page, "A")

    # 4. Alice makes them a viewer: from the next page on they may look only
    page.reload()
    row = page.locator(".list li", has_text=guest)
    row.locator("select").select_option("viewer")
    with page.expect_navigation():  # the script that asks before somebody is taken out comes with the next page
        row.get_by_role("button", name="Change").click()
    expect(page.locator(".notice")).to_contain_text("viewer")
    theirs.page.goto(f"{visitor.url}/team/")
    expect(theirs.page.locator(".page-head p")).to_have_text("Your role here: viewer.")
    theirs.page.goto(f"{visitor.url}/keys/")
    expect(theirs.page.locator("[name=name]")).to_have_count(0)

    # 5. The link is spent
    theirs.page.goto(f"{visitor.url}{path}")
    expect(theirs.page.locator("h1")).to_have_text("This invitation does not work")

    # 6. Alice takes them out, after being asked; their page belongs to their own organisation again
    page.locator(".list li", has_text=guest).get_by_role("button", name="Take out").click()
    page.locator("#confirm").get_by_role("button", name="Take out").click()
    expect(page.locator(".list li", has_text=guest)).to_have_count(0)
    theirs.page.goto(f"{visitor.url}/studio/")
    theirs.page.wait_for_selector("#studio[data-ready]")
    expect(theirs.page.locator(".switcher")).to_have_count(0)

    assert visitor.foreign == theirs.foreign == [] and visitor.complaints == []
    # The spent link; and what their open page asks of an organisation that they were taken out of meanwhile.
    assert [text for text in theirs.complaints if not ("410" in text or "403" in text)] == []
    other.close()


def switch_to(page: Page, name: str) -> None:
    page.click(".switcher summary")
    page.locator(".switcher button", has_text=name).click()
    page.wait_for_selector("#studio[data-ready]")
    expect(page.locator(".switcher-name")).to_have_text(name)
