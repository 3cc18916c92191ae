"""Usage in a real browser: look, narrow with the keyboard, take the file home, set a budget."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from accounts.models import MemberBudget
from accounts.tenancy import in_tenant
from tests.accounts.ledgers import day, worked
from tests.chaos.rig import Rig
from tests.e2e.conftest import Visitor
from tests.factories import Person

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(600)]
PASSWORD = "correct horse battery staple"


def test_usage_and_a_budget(rig: Rig, visitor: Visitor, alice: Person, bob: Person) -> None:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    for ago in range(40):
        worked(alice, images=ago % 5 + 1, gpu_ms=900, ago=ago)
        worked(bob, images=2, gpu_ms=400, ago=ago, key=bob.key, model="turbo")
    page = visitor.page
    visitor.sign_in(alice.user.email, PASSWORD)
    page.click("nav a[href='/usage/']")
    expect(page.locator(".chart-bars path.series-1")).to_have_count(1)
    expect(page.locator(".chart-bars rect.chart-day")).to_have_count(30)
    box = page.locator(".chart-bars").bounding_box()
    assert box is not None and box["width"] > 400 and box["height"] > 100

    # 1. By member, with the keyboard alone
    page.focus("#f-by")
    page.keyboard.press("m")
    expect(page.locator("#f-by")).to_have_value("member")
    page.locator(".usage-go button").press("Enter")
    expect(page.locator(".legend")).to_contain_text("bob")
    expect(page.locator("tbody tr", has_text="bob").first).to_contain_text("60")

    # 2. The file
    with page.expect_download() as download:
        page.click("a[download]")
    assert download.value.suggested_filename == f"usage-{day(29)}-{day(0)}.csv"
    assert len(download.value.path().read_text(encoding="utf-8-sig").splitlines()) == 61

    # 3. Bob's budget
    page.locator("tbody tr", has_text="bob").first.get_by_role("link").click()
    page.fill("[name=images_per_day]", "5")
    page.click("form button.button-main")
    expect(page.locator(".notice")).to_contain_text("The budget of bob is set.")
    with in_tenant(alice.tenant.pk):
        assert MemberBudget.objects.get().limits == {"images_per_day": 5}

    # 4. On a phone nothing is wider than the screen
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/usage/?by=member", "/usage/?by=model&days=90"):
        page.goto(visitor.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

    assert visitor.foreign == []
    assert visitor.complaints == []
