"""The real server: one port, small, without torch, and it stops when asked."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.factories import Person
from tests.needs import find_chromium
from tests.openapi import operations, read_schema
from tests.qwenstudio.fronts import ROOT, RunningFront, running_front

MEGABYTE = 1_000_000
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def front(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    with running_front(tmp_path_factory.mktemp("front")) as found:
        yield found


def test_serves_everything_on_one_port(db: None, front: RunningFront) -> None:
    with httpx.Client(base_url=front.url, timeout=60) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/readyz").json()["status"] == "ready"
        assert "Welcome" in client.get("/sign-in/").text  # Django
        assert client.get("/static/admin/css/base.css").headers["content-type"].startswith("text/css")
        assert client.get("/api/v1/events").json()["code"] == "not_signed_in"  # the door


def test_strange_requests_are_answered(front: RunningFront) -> None:
    """Raw bytes in path and query, a doubled slash, an overlong path: answers, not broken connections."""
    where = urlsplit(front.url)
    for target in (b"/%ff%fe", b"/x?q=\xe4\xff", b"//x//y", b"/" + b"a" * 5000, b"/api/v1/images/%00/events"):
        with socket.create_connection((where.hostname, where.port), timeout=60) as plug:
            plug.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            status = int(plug.makefile("rb").readline().split()[1])
            assert 400 <= status < 500, target


@pytest.mark.parametrize("header", [f"Cookie: a={'x' * 9000}", f"X-Long: {'x' * 40_000}"])
def test_oversized_headers_are_refused(front: RunningFront, header: str) -> None:
    where = urlsplit(front.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as plug:
        plug.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(plug)
        answer.begin()
        assert answer.status == 431
        assert json.loads(answer.read())["code"] == "headers_too_large"


def test_unread_body_over_the_cap_is_refused(front: RunningFront) -> None:
    where = urlsplit(front.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    connection.putrequest("POST", "/sign-in/")
    connection.putheader("Content-Length", "900000000")
    connection.endheaders()  # and nothing follows: nobody waits for it
    assert connection.getresponse().status in (400, 403, 413)
    connection.close()


def test_is_small_and_has_no_torch(alice: Person, front: RunningFront) -> None:
    headers = {"Authorization": f"Bearer {alice.secret}"}
    with httpx.Client(base_url=front.url, headers=headers, timeout=60) as client:
        for _ in range(30):
            client.get("/sign-in/")
            client.get("/api/v1/me")
            client.get("/api/schema/")
    memory = front.worker.memory_info().rss
    assert memory < 150 * MEGABYTE, f"{memory / MEGABYTE:.0f} MB"
    maps = Path(f"/proc/{front.worker.pid}/maps")
    if maps.exists():
        assert "torch" not in maps.read_text()


def test_imports_no_torch() -> None:
    line = "import qwenstudio.asgi, qwenstudio.urls, sys; print([m for m in sys.modules if m.split('.')[0] in " \
           "('torch', 'diffusers', 'transformers')])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stops_at_once_with_streams_open(alice: Person, tmp_path: Path) -> None:
    with running_front(tmp_path) as front, httpx.Client(base_url=front.url, timeout=60) as client:
        headers = {"Authorization": f"Bearer {alice.secret}"}
        with client.stream("GET", "/api/v1/events", headers=headers) as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()
            assert next(lines) == "retry: 2000"
            started = time.monotonic()
            front.process.send_signal(signal.SIGTERM)
            list(lines)  # it ends by itself
        assert front.process.wait(60) == 0
        assert time.monotonic() - started < 20, "nothing had to be killed"


@pytest.mark.needs_chromium
def test_api_page_works_under_its_policy(db: None, front: RunningFront) -> None:
    """In a real browser: every operation is listed, nothing is refused by the policy, no other host is asked."""
    from playwright.sync_api import sync_playwright  # only where there is a browser for it

    complaints, foreign = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"], timeout=120_000
        )
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda asked: None if asked.url.startswith((front.url, "data:")) else foreign.append(asked.url)
        )
        page.goto(f"{front.url}/api/docs/", timeout=150_000)
        page.wait_for_selector(".opblock", timeout=120_000)
        listed = page.locator(".opblock").count()
        page.locator(".opblock-post .opblock-summary-control").first.click()
        page.wait_for_selector(".opblock-body", timeout=120_000)
        browser.close()
    assert listed == len(operations(read_schema())) > 12
    assert (complaints, foreign) == ([], [])
