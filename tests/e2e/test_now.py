"""Staff at their first page, in a real browser: what happens, a drain and its undo, a failure's lines, a search."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from accounts.tenancy import in_tenant
from generation.domain.request import GenerationRequest
from generation.domain.submit import submit_generation
from tests.chaos.rig import Rig, row_of, wait_for
from tests.e2e.conftest import ENGINE, SLOW_MS, Visitor
from tests.factories import Person

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


def submit(person: Person, prompt: str, **fields: int) -> str:
    with in_tenant(person.tenant.pk):
        request = GenerationRequest(model="demo", prompt=prompt, width=64, height=64, **fields)
        return str(submit_generation(caller=person.caller, request=request).id)


def part(page: Page, name: str) -> Locator:
    return page.locator(f"#now-{name}")


def test_staff_at_their_first_page(rig: Rig, visitor: Visitor, alice: Person) -> None:
    User.objects.create_superuser("staff@example.org", PASSWORD)
    bad = submit(alice, "RAISE about a secret lighthouse")
    rig.start_worker(engine=ENGINE, SLEEPING_STEP_S="1.5")
    wait_for(rig, bad, "failed", seconds=90)  # type: ignore[arg-type]
    page = visitor.page

    # 1. Signing in for the admin leads here
    page.goto(f"{visitor.url}/admin/")
    page.fill("[name=email]", "staff@example.org")
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    expect(page).to_have_url(re.compile("/admin/now/$"))
    expect(part(page, "workers")).to_contain_text("idle")
    expect(part(page, "waits")).to_contain_text("Nothing waits.")

    # 2. What begins to run appears by itself, and steps on
    first = submit(alice, "a white house", num_inference_steps=8)
    expect(part(page, "running")).to_contain_text(first)
    expect(part(page, "running")).to_contain_text(re.compile("[1-8] of 8"))

    # 3. The failure's lines stay open and the focus stays while the page goes on
    lines = page.locator("#now-failures details")
    lines.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(lines.locator("pre")).to_contain_text("row failed: engine_error")
    assert "lighthouse" not in page.content()
    ticks = int(page.locator("#qs-parts").get_attribute("data-ticks") or 0)
    page.wait_for_function("n => Number(document.getElementById('qs-parts').dataset.ticks || 0) >= n + 2", arg=ticks)
    expect(lines.locator("pre")).to_be_visible()
    assert page.evaluate("document.activeElement.matches('#now-failures summary')")

    # 4. Drained: it finishes what it draws, claims no more; undone, it goes on
    wait_for(rig, first, "succeeded")  # type: ignore[arg-type]
    running = submit(alice, "a red house", num_inference_steps=8)
    wait_for(rig, running, "running")  # type: ignore[arg-type]
    page.locator("#now-workers button", has_text="Drain").click()
    expect(page.locator(".messagelist")).to_contain_text("claims no more")
    waiting = submit(alice, "a black house", num_inference_steps=5)
    expect(part(page, "workers")).to_contain_text("drained")
    wait_for(rig, running, "succeeded")  # type: ignore[arg-type]
    expect(page.locator("#now-workers .qs-state")).to_have_text("drained")
    expect(part(page, "waits")).to_contain_text("every worker of this pool is drained")
    assert row_of(rig, waiting, "status", "fence") == ("queued", 0)  # type: ignore[arg-type]
    page.locator("#now-workers button", has_text="Draw again").click()
    wait_for(rig, waiting, "succeeded")  # type: ignore[arg-type]
    expect(part(page, "waits")).to_contain_text("Nothing waits.")

    # 5. Half a reason is not lost to the refresh; paused, people hear of it at once
    member = page.context.browser.new_context()  # type: ignore[union-attr]
    member.set_default_timeout(SLOW_MS)
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    other = Visitor(page=member.new_page(), url=visitor.url)
    other.sign_in(alice.user.email, PASSWORD)
    page.locator("#now-pools summary").first.click()
    page.locator("#now-pools input").fill("new disks until")
    ticks = int(page.locator("#qs-parts").get_attribute("data-ticks") or 0)
    page.wait_for_function("n => Number(document.getElementById('qs-parts').dataset.ticks || 0) >= n + 1", arg=ticks)
    page.locator("#now-pools input").press_sequentially(" noon")
    page.locator("#now-pools .button", has_text="Pause").click()
    expect(part(page, "pools")).to_contain_text("paused by staff@example.org: new disks until noon")
    expect(other.page.locator("#notice")).to_have_text("Staff have paused drawing: new disks until noon")
    page.locator("#now-pools button", has_text="Resume").click()
    expect(other.page.locator("#notice")).to_be_hidden()
    member.close()

    # 6. The box leads to the thing
    page.fill("#qs-search", alice.key.prefix)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/admin/accounts/tenant/{alice.tenant.pk}/change/$"))
    page.fill("#qs-search", bad)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/admin/generation/generation/{bad}/change/$"))
    expect(page.locator("#content")).to_contain_text("row failed: engine_error")

    # 7. A key is revoked from its tenant's page, another member is added by the page's own script
    page.goto(f"{visitor.url}/admin/accounts/tenant/{alice.tenant.pk}/change/")
    page.locator(".qs-sure summary").click()
    page.locator(".qs-sure .button").click()
    expect(page.locator(".messagelist")).to_contain_text("The key is revoked")
    page.locator("#membership-group .add-row a").click()
    expect(page.locator("#membership-1")).to_be_visible()

    # 8. In Chinese, by the switch of the admin itself
    page.goto(f"{visitor.url}/admin/now/")
    page.locator(".qs-look button").click()
    expect(page).to_have_url(re.compile("/admin/now/$"))
    expect(page.locator("h1")).to_have_text("此刻")
    assert visitor.complaints == []
    assert visitor.foreign == []


def test_it_works_without_its_script(rig: Rig, visitor: Visitor, alice: Person) -> None:
    User.objects.create_superuser("staff@example.org", PASSWORD)
    rig.start_worker(engine=ENGINE)
    rig.wait_for_worker()
    page = visitor.page.context.browser.new_context(java_script_enabled=False).new_page()  # type: ignore[union-attr]
    page.set_default_timeout(SLOW_MS)
    page.goto(f"{visitor.url}/admin/now/")
    page.fill("[name=email]", "staff@example.org")
    page.fill("[name=password]", PASSWORD)
    page.click("form button.button-main")
    page.locator("#now-workers button", has_text="Drain").click()
    expect(part(page, "workers")).to_contain_text(re.compile("drained"))
    page.locator("#now-pools summary").first.click()
    page.locator("#now-pools input").fill("new disks")
    page.locator("#now-pools .button", has_text="Pause").click()
    expect(part(page, "pools")).to_contain_text("new disks")
    page.context.close()
