"""The whole studio for a browser: the real server, a worker process, Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from qwenstudio.embedded import Services
from tests.chaos.rig import Rig, offer_sleeping_model, wait_until
from tests.needs import find_chromium
from tests.qwenstudio.fronts import RunningFront, running_front

ENGINE = "tests.e2e.painting:Painting"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
SLOW_MS = 60_000  # everything is awaited; this only bounds how long a broken page may hold the suite
START_MS = 180_000  # the first start of a browser reads a quarter of a gigabyte from the disk
BROKEN_OFF = ("htmx:sendAbort", "htmx:sendError", "htmx:afterRequest")
"""How htmx logs that its page was left while a fragment was on its way. An answer that is an error has other words."""
expect.set_options(timeout=SLOW_MS)


def wait_for_image(image: Locator) -> int:
    """The width of a picture in pixels, once the browser has read it: it has its place on the page before that."""
    found: list[int] = []

    def is_read() -> bool:
        found[:] = [int(image.evaluate("image => image.complete && image.naturalWidth"))]
        return found[0] > 0

    wait_until(is_read, seconds=SLOW_MS / 1000, what="the picture")
    return found[0]


@dataclass
class Visitor:
    """A page in a browser, and what must not happen in it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Remember console errors, policy violations, exceptions and requests to other hosts."""
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._check(request.url))

    def _note(self, kind: str, text: str) -> None:
        if text.startswith(BROKEN_OFF):
            return
        if kind in ("error", "warning") or "Content Security Policy" in text:
            self.complaints.append(f"{kind}: {text}")

    def _check(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(url)

    def sign_in(self, email: str, password: str) -> None:
        self.page.goto(f"{self.url}/")
        self.page.fill("[name=email]", email)
        self.page.fill("[name=password]", password)
        self.page.click("form button.button-main")
        self.page.wait_for_selector("#studio[data-ready]")


@pytest.fixture
def rig(db: object, services: Services, tmp_path: Path, media: Path) -> Iterator[Rig]:
    """A worker beside the tests' servers; it ends with the test."""
    offer_sleeping_model()
    rig = Rig(services, tmp_path / "logs")
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture(scope="module")
def front(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    """The server that people talk to: one for a file, as it keeps nothing and its start takes seconds of a core."""
    with running_front(tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window, one for a file; what it remembers is a context's, which each test has its own of."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's synchronous API runs a loop of its own, in which Django sees an async context.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS), timeout=START_MS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB")
    context.set_default_timeout(SLOW_MS)
    yield context
    context.close()


@pytest.fixture
def visitor(context: BrowserContext, front: RunningFront, rig: Rig) -> Visitor:
    """Somebody who has just opened the browser, in a studio that has a model to draw with."""
    visitor = Visitor(page=context.new_page(), url=front.url)
    visitor.watch()
    return visitor
