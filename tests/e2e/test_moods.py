"""The page of moods in a browser: what is judged, asked once however often one presses, and what is wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Visitor
from tests.factories import Person
from tests.qwenstudio.talking import offer_chat

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(300)]
PASSWORD = "correct horse battery staple"


class Choosing(BaseHTTPRequestHandler):
    """What the page's texts are judged by; it answers when `goes_on` is set, with an error while it `is_ill`."""

    asked: list[str]
    is_ill = False
    goes_on: threading.Event

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["state"]
        self.asked.append(text)
        self.goes_on.wait(60)
        if self.is_ill:
            self.send_error(500)
            return
        good = 0.9 if "good" in text else 0.05
        scores = {"positive": good, "neutral": 0.05, "negative": 0.95 - good}
        body = json.dumps({"answers": {"mood": {"probabilities": scores}}, "usage": {"input_tokens": 9}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def choosing() -> Iterator[type[Choosing]]:
    handler = type("Handler", (Choosing,), {"asked": [], "goes_on": threading.Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        offer_chat(server.server_port)
        yield handler
        handler.goes_on.set()
        server.shutdown()


def test_texts_are_judged_once(visitor: Visitor, alice: Person, choosing: type[Choosing]) -> None:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    visitor.sign_in(alice.user.email, PASSWORD)
    page = visitor.page
    page.goto(f"{visitor.url}/sentiment/")
    field, results = page.locator("#mood-texts"), page.locator("#mood-results")

    page.click("[data-judge]")
    expect(page.locator("#mood-error")).to_have_text("Write a text first.")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("so good\n\n  <b>so bad</b> ")
    for _ in range(3):
        page.keyboard.press("Control+Enter")
    expect(page.locator("[data-judge]")).to_be_disabled()
    expect(field).to_have_attribute("aria-invalid", "false")
    choosing.goes_on.set()
    expect(results.locator("li")).to_have_count(2)
    expect(results.locator("[data-text]")).to_have_text(["so good", "<b>so bad</b>"])
    expect(results.locator("[data-label]")).to_have_text(["positive", "negative"])
    expect(results.locator("dd").first).to_have_text("90%")
    colours = "all => all.map((one) => getComputedStyle(one).backgroundColor)"
    assert len(set(results.locator("li").first.locator(".bar i").evaluate_all(colours))) == 3
    expect(page.locator("[data-judge]")).to_be_enabled()
    assert sorted(choosing.asked) == ["<b>so bad</b>", "so good"]
    assert not visitor.complaints and not visitor.foreign

    choosing.is_ill = True
    page.click("[data-judge]")
    expect(page.locator("#mood-failed")).to_be_visible()
    expect(results).to_be_hidden()
    expect(field).to_have_attribute("aria-invalid", "false")  # it is not the texts' fault
