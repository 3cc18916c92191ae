"""An API key's life in a browser: made, copied, used by the samples, rotated, changed, revoked, reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.chaos.rig import Rig
from tests.e2e.conftest import ENGINE, SLOW_MS, Visitor
from tests.factories import Person

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def alice_with_password(alice: Person) -> Person:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    return alice


def status(visitor: Visitor, secret: str) -> int:
    """What a program with a key is answered."""
    return httpx.get(f"{visitor.url}/api/v1/me", headers={"X-Api-Key": secret}, timeout=60).status_code


def take_secret(page: Page) -> str:
    """Copy the secret in the dialogue, and say that it is stored."""
    expect(page.locator("dialog[data-once]")).to_be_visible()
    page.click("[data-copy=secret]")
    expect(page.locator(".toast")).to_be_visible()
    secret = str(page.evaluate("navigator.clipboard.readText()"))
    assert secret == page.locator("#secret").inner_text()
    page.click("[data-once-stored]")
    page.wait_for_selector("dialog[data-once]", state="detached")
    return secret


def refuse_first(route: Route, refusals: list[int]) -> None:
    """Answer as a busy studio does, until nothing is left to refuse with."""
    if refusals:
        route.fulfill(status=refusals.pop(0), headers={"Retry-After": "0"}, body="{}")
    else:
        route.continue_()


def press(page: Page, what: str) -> None:
    """Press a button whose question a script asks: not before there are scripts."""
    page.wait_for_selector("html:not(.no-js)")
    page.click(what)


def confirm(page: Page) -> None:
    """Say yes to the page's question, and wait for the page that follows."""
    expect(page.locator("#confirm")).to_be_visible()
    send(page, "#confirm [data-confirm-yes]")


def send(page: Page, button: str) -> None:
    """Press a button that leads to another page, and wait for that: what it says may stand on the one before, too."""
    with page.expect_navigation():
        page.click(button)


def test_a_keys_life(rig: Rig, visitor: Visitor, context: BrowserContext, alice_with_password: Person) -> None:
    alice, page = alice_with_password, visitor.page
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    rig.start_worker(engine=ENGINE)
    rig.wait_for_worker()
    visitor.sign_in(alice.user.email, PASSWORD)

    # 1. Made with the keyboard; the secret cannot be lost by an Escape, and the focus stays with it
    page.goto(f"{visitor.url}/keys/")
    page.fill("[name=name]", "build server")
    page.click(".more > summary")
    page.fill("[name=images_per_day]", "20")
    page.fill("[name=gpu_ms_per_day]", "1.5")
    with page.expect_navigation():  # the dialogue stands open before its script listens to Escape
        page.keyboard.press("Enter")
    dialog = page.locator("dialog[data-once]")
    expect(dialog).to_be_visible()
    expect(page.locator("[data-copy=secret]")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    expect(page.locator("[data-once-warning]")).to_be_visible()
    expect(page.locator("[data-once-stored]")).to_be_focused()
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")

    # 2. The samples are filled in and draw
    samples = {name: page.locator(f"#sample-{name}").text_content() or "" for name in ("curl", "python", "javascript")}
    first = take_secret(page)
    assert page.url == f"{visitor.url}/keys/" and first not in page.content()
    assert all(sample.count(first) == 1 for sample in samples.values())
    assert draw_with_python(samples["python"], visitor).startswith(f"{visitor.url}/files/")
    refusals = [429, 503]
    page.route("**/api/v1/images", lambda route: refuse_first(route, refusals))
    drawn = page.evaluate(f"(async () => {{ {samples['javascript']}; return picture.status }})()")
    assert drawn == "succeeded" and refusals == []
    refused, visitor.complaints[:] = list(visitor.complaints), []
    assert all("429" in complaint or "503" in complaint for complaint in refused)
    assert rig.ask("SELECT count(*) FROM generation_generation WHERE status = 'succeeded'") == [(2,)]

    # 3. Rotated: for a while both secrets work; a second rotation would overlap
    page.reload()
    row = page.locator(".list li", has_text="build server")
    expect(row).to_contain_text("from 127.0.0.1")
    expect(row).to_contain_text("GPU time a day: 1.5 s")
    row.locator("a.key-name").click()
    page.select_option("[name=overlap_s]", "3600")
    press(page, ".rotate button")
    confirm(page)
    second = take_secret(page)
    assert second != first
    assert [status(visitor, secret) for secret in (first, second)] == [200, 200]
    page.locator(".list li", has_text="build server").locator("a.button").click()
    expect(page.locator(".rotate")).to_have_count(0)
    press(page, "text=End the old secret now")
    confirm(page)
    expect(page.locator(".notice-success")).to_be_visible()
    assert [status(visitor, secret) for secret in (first, second)] == [401, 200]

    # 4. Changed: the next request meets it
    page.fill("[name=networks]", "192.0.2.0/24")
    send(page, "form.panel-form .button-main")
    expect(page.locator(".notice-success")).to_be_visible()
    assert status(visitor, second) == 403
    page.fill("[name=networks]", "nowhere")
    send(page, "form.panel-form .button-main")
    expect(page.locator(".field-error")).to_contain_text("nowhere")
    page.fill("[name=networks]", "")
    send(page, "form.panel-form .button-main")
    expect(page.locator(".notice-success")).to_be_visible()
    assert status(visitor, second) == 200

    # 5. Revoked, after a question
    press(page, "form .button-danger")
    page.click("#confirm [value=no]")
    assert status(visitor, second) == 200
    press(page, "form .button-danger")
    confirm(page)
    expect(page.locator(".notice-success")).to_contain_text("build server")
    assert status(visitor, second) == 401
    page.click(".key-tabs a[href*=revoked]")
    expect(page.locator(".list li", has_text="build server")).to_contain_text("revoked")

    refused, visitor.complaints[:] = list(visitor.complaints), []
    assert all("400" in complaint for complaint in refused)  # the network that is none
    assert visitor.foreign == []


def draw_with_python(sample: str, visitor: Visitor) -> str:
    """What the sample prints."""
    sample = sample.replace("http://127.0.0.1:8000", visitor.url)
    done = subprocess.run([sys.executable, "-c", sample], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_scripts_and_with_a_leaked_key(
    rig: Rig, visitor: Visitor, alice_with_password: Person, tmp_path: Path
) -> None:
    alice = alice_with_password
    browser = visitor.page.context.browser
    assert browser is not None
    plain = browser.new_context(java_script_enabled=False)
    plain.set_default_timeout(SLOW_MS)
    page = plain.new_page()
    page.goto(f"{visitor.url}/keys/")
    page.fill("[name=email]", alice.user.email)
    page.fill("[name=password]", PASSWORD)
    send(page, "form button.button-main")
    page.goto(f"{visitor.url}/keys/")

    # Made, shown, rotated and revoked by forms alone
    page.fill("[name=name]", "plain")
    page.click("form.panel-form .button-main")
    first = page.locator("#secret").inner_text()
    expect(page.locator("#sample-javascript")).to_be_visible()
    page.click("[data-once-stored]")
    page.click("a.key-name:has-text('plain')")
    page.select_option("[name=overlap_s]", "0")
    page.click(".rotate button")
    expect(page.locator("h1")).to_have_text("A new secret for plain?")  # nothing is done before it is asked
    assert status(visitor, first) == 200
    page.click("main form .button-danger")
    second = page.locator("#secret").inner_text()
    assert [status(visitor, secret) for secret in (first, second)] == [401, 200]

    # Somebody finds it
    page.goto(f"{visitor.url}/keys/leaked/")
    page.fill("[name=key]", second)
    page.click("form .button-main")
    expect(page.locator("h1")).to_have_text("Thank you")
    assert status(visitor, second) == 401
    plain.close()
