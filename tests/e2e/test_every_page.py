"""Every page in a real browser, narrow and wide, light and dark, in both languages: axe-core finds nothing serious.

It looks at what it can measure (contrast, names, roles, order, landmarks); whether a page is pleasant it cannot say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from accounts.models import User
from tests.chaos.rig import Rig
from tests.e2e.every_page import (
    INSIDE,
    MORE,
    NOT_PAGES,
    OUTSIDE,
    Furnished,
    admin_addresses,
    furnish,
    page_routes,
    session_of,
)
from tests.factories import Person
from tests.needs import find_axe
from tests.qwenstudio.fronts import RunningFront, running_front

browser_test = [pytest.mark.needs_chromium, pytest.mark.needs_axe, pytest.mark.timeout(1200)]
# What a page is looked at in: each width, theme and language, and not all of their combinations, which would take half
# of the time of all tests.
LOOKS = {"en-GB": ((1280, "light"), (390, "dark")), "zh-CN": ((390, "light"),)}
SERIOUS = ("serious", "critical")
# What other people's code does, and we cannot mend from outside.
NOT_OURS = {
    "/api/docs/": ("nested-interactive", "select-name"),  # Swagger UI's links within buttons, its list of servers
}
RUN = """async (theme) => {
  document.documentElement.dataset.theme = theme;
  for (const more of document.querySelectorAll("details:not([data-menu])")) more.open = true;
  // Colours that are on their way from one theme to the other are nobody's; an animation that has ended and holds its
  // last state is on no way.
  const moves = () => document.getAnimations().some((one) => one.playState !== "finished");
  for (let quiet = 0, frame = 0; quiet < 3 && frame < 600; frame += 1) {
    await new Promise(requestAnimationFrame);
    quiet = moves() ? 0 : quiet + 1;
  }
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map(({ id, impact, help, nodes }) => (
    { id, impact, help, nodes: nodes.map(({ target, failureSummary }) => `${target}: ${failureSummary}`) }));
}"""


def test_every_page_has_an_entry() -> None:
    listed = OUTSIDE.keys() | INSIDE.keys() | NOT_PAGES.keys()
    assert page_routes() - listed == set(), "add them to tests/e2e/every_page.py"
    assert listed - page_routes() == set(), "gone: take them out of tests/e2e/every_page.py"


@pytest.fixture
def open_front(rig: Rig, tmp_path: Path) -> Iterator[RunningFront]:
    """A studio where everybody may sign up, so that there is a form for it."""
    with running_front(tmp_path, STUDIO_SIGNUP="open") as front:
        yield front


@pytest.fixture
def furnished(rig: Rig, alice: Person, media: Path) -> Furnished:
    return furnish(alice, media)


def complaints(page: Page, url: str, language: str = "en-GB") -> list[dict[str, Any]]:
    """What axe finds serious on a page, in a language's widths and themes."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    answer = page.goto(url)
    assert answer is not None and answer.status < 500, url
    page.wait_for_load_state("load")
    assert not page.evaluate("'axe' in window")
    page.evaluate(Path(find_axe() or "").read_text(encoding="utf-8"))  # the page's policy allows no foreign script
    found = []
    for width, theme in LOOKS[language]:
        page.set_viewport_size({"width": width, "height": 860})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        for violation in page.evaluate(RUN, theme):
            if violation["impact"] in SERIOUS and violation["id"] not in NOT_OURS.get(urlsplit(url).path, ()):
                found.append({"page": url, "as": f"{width} {theme}"} | violation)
    return found


def look(
    browser: Browser, front: RunningFront, language: str, addresses: list[str], who: User | None
) -> list[dict[str, Any]]:
    """Open all of them; everything that is wrong."""
    context = browser.new_context(locale=language)
    context.set_default_timeout(60_000)
    if who is not None:
        context.add_cookies([{**session_of(who), "url": front.url}])  # type: ignore[list-item]
    page = context.new_page()
    found: list[dict[str, Any]] = []
    for address in addresses:
        found += complaints(page, front.url + address, language)
    context.close()
    return found


class TestPages:
    pytestmark = browser_test

    def test_before_one_is_signed_in_as_an_owner_and_as_staff(
        self, browser: Browser, open_front: RunningFront, furnished: Furnished
    ) -> None:
        """One studio, as its start and its furniture take seconds of a core; a session of one's own for each look."""
        staff = User.objects.get(is_superuser=True)
        outside = [address(furnished) for address in OUTSIDE.values()]
        inside = [address(furnished) for address in (*INSIDE.values(), *MORE.values())]
        found: list[dict[str, Any]] = []
        for language in LOOKS:
            for addresses, who in ((outside, None), (inside, furnished.alice.user), (admin_addresses(), staff)):
                found += look(browser, open_front, language, addresses, who)
        assert not found, json.dumps(found, indent=1, ensure_ascii=False)

    def test_it_finds_what_is_wrong(self, browser: Browser, open_front: RunningFront) -> None:
        """A picture without words and grey on white: else its silence would say nothing."""
        page = browser.new_page()
        page.route(
            "**/sign-in/",
            lambda route: route.fulfill(
                content_type="text/html",
                body="<title>x</title><main><img src=x><p style='color:#aaa;background:#fff'>grey</p></main>",
            ),
        )
        found = {violation["id"] for violation in complaints(page, f"{open_front.url}/sign-in/")}
        assert {"image-alt", "color-contrast"} <= found
