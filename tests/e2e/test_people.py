"""From a sign-up to the first picture, and a second factor from its set-up to a recovery code: in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import BrowserContext, Page, expect

from tests.chaos.rig import Rig, wait_until
from tests.e2e.conftest import ENGINE, Visitor, wait_for_image
from tests.qwenstudio.fronts import running_front

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"
EMAIL = "dora@example.com"


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """Where e-mails lie: the studio has no mail server."""
    return tmp_path / "outbox"


@pytest.fixture
def newcomer(rig: Rig, context: BrowserContext, tmp_path: Path, outbox: Path) -> Iterator[Visitor]:
    """Somebody who knows a studio that is open for sign-ups, and has no account."""
    mail = {"EMAIL_URL": f"folder://{outbox}"}
    rig.environment |= mail
    with running_front(tmp_path, STUDIO_SIGNUP="open", **mail) as front:
        rig.environment["STUDIO_URL"] = front.url
        rig.start_errands()
        visitor = Visitor(page=context.new_page(), url=front.url)
        visitor.watch()
        yield visitor


def links(outbox: Path, rig: Rig, subject: str) -> list[str]:
    """The links in the newest mail with this subject; waits for it."""

    def found() -> list[str]:
        for path in sorted(outbox.glob("*.eml"), reverse=True):
            message = message_from_bytes(path.read_bytes(), policy=policy.default)
            if message["Subject"] == subject:
                return re.findall(r"http://\S+/account/\S+", str(message.get_content()))
        return []

    wait_until(lambda: bool(found()), seconds=120, what=f"an e-mail «{subject}»\n{rig.log('errands')[-3000:]}")
    return found()


def code(secret: str, after: int = 0) -> tuple[str, int]:
    """A code of the person's app, for a later half minute than the last one: the studio takes none twice."""
    step = max(int(time.time()) // 30, after + 1)
    while int(time.time()) // 30 < step - 1:  # it takes the next half minute's too
        time.sleep(0.2)
    return str(format_hotp_value(hotp_value(secret, step))), step


def sign_out(page: Page) -> None:
    page.click("[data-menu] summary")
    page.click("button.menu-item")
    expect(page.locator("[name=password]")).to_be_visible()


def test_sign_up_to_first_picture(rig: Rig, newcomer: Visitor, outbox: Path) -> None:
    rig.start_worker(engine=ENGINE, SLEEPING_STEP_S="0.2")
    rig.wait_for_worker()
    page, url = newcomer.page, newcomer.url

    # 1. Sign up; a weak password is refused first
    page.goto(f"{url}/")
    page.click("text=No account yet?")
    page.fill("[name=name]", "Dora")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", "qwertyuiop")
    page.click("form button.button-main")
    expect(page.locator(".field-error")).to_contain_text("too common")
    refused, newcomer.complaints[:] = list(newcomer.complaints), []
    assert all("400" in complaint for complaint in refused)  # the browser notes the refused form itself
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    expect(page.locator("h1")).to_have_text("Check your mailbox")
    assert rig.ask("SELECT count(*) FROM accounts_tenant") == [(0,)]

    # 2. The mail, its link, one click, and in
    (link,) = links(outbox, rig, "Confirm your address")
    assert link.startswith(url)
    page.goto(link)
    expect(page.locator("h1")).to_have_text("Confirm your address")
    page.click("form button.button-main")
    page.wait_for_selector("#studio[data-ready]")
    assert rig.ask("SELECT name FROM accounts_tenant") == [("Dora’s studio",)]

    # 3. The first picture
    page.fill("#prompt", "a red boat on the sea at sunset")
    page.keyboard.press("Control+Enter")
    card = page.locator(".work").first
    expect(card).to_have_attribute("data-status", "succeeded")
    expect(card.locator("img.tile-final")).to_be_visible()
    assert rig.ask("SELECT count(*) FROM generation_image") == [(1,)]

    assert newcomer.foreign == []
    assert newcomer.complaints == []


def test_a_second_factor(rig: Rig, newcomer: Visitor, outbox: Path) -> None:
    page, url = newcomer.page, newcomer.url
    page.goto(f"{url}/sign-up/")
    page.fill("[name=name]", "Dora")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    page.goto(links(outbox, rig, "Confirm your address")[0])
    page.click("form button.button-main")
    page.wait_for_selector("#studio[data-ready]")

    # 1. Set it up: password once more, scan (here: read) the key, type a code
    page.click("[data-menu] summary")
    page.click(".menu-body a[href='/account/']")
    expect(page.locator("h1")).to_have_text("Account")
    page.click("a[href='/account/second-factor/']")
    page.click("a[href='/account/second-factor/set-up/']")
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    expect(page.locator("img.qr")).to_be_visible()
    assert wait_for_image(page.locator("img.qr")) > 0
    secret = page.locator("#secret").inner_text()
    typed, step = code(secret)
    page.fill("[name=code]", typed)
    page.click("form button.button-main")
    expect(page.locator("h1")).to_have_text("Recovery codes")
    recovery = page.locator("#codes").inner_text().split()
    assert len(recovery) == 10
    stored = rig.ask("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")[0][0]
    assert secret not in str(stored) and recovery[0] not in str(stored)
    links_of_notice = links(outbox, rig, "Your second factor is on")
    assert links_of_notice == [f"{url}/account/password/reset/"]

    # 2. Out, and in with a code
    sign_out(page)
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    expect(page.locator("h1")).to_have_text("One more step")
    page.goto(f"{url}/studio/")
    expect(page.locator("[name=password]")).to_be_visible()  # a password alone opens nothing
    page.go_back()
    page.fill("[name=code]", code(secret, step)[0])
    page.click("form button.button-main")
    page.wait_for_selector("#studio[data-ready]")

    # 3. Out, and in with a recovery code, which works once
    sign_out(page)
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    page.fill("[name=code]", recovery[0])
    page.click("form button.button-main")
    page.wait_for_selector("#studio[data-ready]")
    page.goto(f"{url}/account/")
    expect(page.locator(".list")).to_contain_text("On. 9 recovery codes left.")

    # 4. The list of browsers has this one
    page.goto(f"{url}/account/sessions/")
    expect(page.locator(".list li")).to_have_count(1)
    expect(page.locator(".list li")).to_contain_text("Chrome on Linux")

    assert newcomer.foreign == []
    assert newcomer.complaints == []
