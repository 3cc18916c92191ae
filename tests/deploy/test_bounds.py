"""Bounds that need a nginx of their own: slow clients, too many requests, an application that does not answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest

from qwenstudio.proxy.site import LanePorts
from tests.deploy.nginxes import once, read_all, running_nginx, status_of
from tests.deploy.upstreams import Heard, answer, upstream

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(300)]


def lanes(web: int, stream: int = 1) -> dict[str, LanePorts]:
    return {"blue": LanePorts(web, stream), "green": LanePorts(1, 1)}


def until_refused(client: httpx.Client, path: str) -> httpx.Response:
    """The first 429."""
    for _ in range(500):
        if (found := client.get(path)).status_code == 429:
            return found
    raise AssertionError("never refused")


def until_taken(client: httpx.Client, path: str) -> httpx.Response:
    """The first answer that is not 429: nginx counts a request until it has logged it, a moment after its answer."""
    deadline = time.monotonic() + 30
    while (found := client.get(path)).status_code == 429 and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_slow_headers_are_cut_off(tmp_path: Path) -> None:
    """Byte after byte keeps the connection busy: the bound is for all of the headers."""
    with upstream() as web, running_nginx(tmp_path, lanes=lanes(web.port), header_timeout_s=1) as nginx:
        with nginx.plug() as plug:
            plug.sendall(b"GET / HTTP/1.1\r\nHost: studio.test\r\n")
            plug.settimeout(0.2)
            ended = False
            deadline = time.monotonic() + 40  # nginx's own bound would be 60 s
            while not ended and time.monotonic() < deadline:
                try:
                    plug.sendall(b"X-Slow: 1\r\n")
                    ended = plug.recv(1) == b""
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
        assert ended
    assert web.heard == []


def test_a_slow_body_does_not_reach_the_application(tmp_path: Path) -> None:
    with (
        upstream() as web,
        running_nginx(tmp_path, lanes=lanes(web.port), body_timeout_s=1) as nginx,
        nginx.plug() as plug,
    ):
        plug.sendall(b"POST / HTTP/1.1\r\nHost: studio.test\r\nContent-Length: 10\r\n\r\nhalf")
        assert status_of(read_all(plug)) in (0, 408)
    assert web.heard == []


def test_too_many_requests_are_told_to_wait(tmp_path: Path) -> None:
    with upstream() as web, running_nginx(tmp_path, lanes=lanes(web.port), rate=1, burst=3) as nginx:
        (nginx.site.static / "studio").mkdir(parents=True)
        (nginx.site.static / "studio/x.css").write_text("a{}")
        with nginx.client() as client:
            first = client.get("/api/v1/me")
            refused, page = until_refused(client, "/api/v1/me"), until_refused(client, "/")
            files = [client.get("/static/studio/x.css").status_code for _ in range(30)]
    assert first.status_code == 200
    assert page.status_code == 429 and "A little too fast" in page.text
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert once(refused.headers, "Retry-After") == "1"
    assert refused.json()["code"] == "rate_limited" and refused.json()["status"] == 429
    assert files == [200] * 30, "what nginx has itself does not count"


def test_too_many_requests_at_a_time_are_told_to_wait(tmp_path: Path) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def act(heard: Heard) -> bytes:
        if "/held" in heard.line:
            arrived.set()
            go_on.wait(60)
        return answer()

    with upstream(act) as web, running_nginx(tmp_path, lanes=lanes(web.port), connections=1) as nginx:
        statuses: list[int] = []

        def hold() -> None:
            with nginx.client() as client:
                statuses.append(client.get("/held").status_code)

        holder = threading.Thread(target=hold)
        holder.start()
        assert arrived.wait(60)
        with nginx.client() as client:
            refused = client.get("/api/v1/me")
            go_on.set()
            holder.join()
            taken = until_taken(client, "/api/v1/me")
    assert (refused.status_code, taken.status_code, statuses) == (429, 200, [200])
    assert once(refused.headers, "Retry-After") == "1"


def test_an_application_that_hangs_is_given_up(tmp_path: Path) -> None:
    go_on = threading.Event()

    def act(heard: Heard) -> bytes:
        go_on.wait(60)
        return answer()

    with upstream(act) as web, running_nginx(tmp_path, lanes=lanes(web.port), read_timeout_s=1) as nginx:
        with nginx.client() as client:
            page = client.get("/gallery/")
            problem = client.get("/api/v1/me")
        go_on.set()
    assert (page.status_code, problem.status_code) == (504, 504)
    assert "This takes too long" in page.text and "等待时间过长" in page.text
    assert problem.json()["code"] == "answer_too_slow" and once(problem.headers, "Retry-After") == "5"
    assert len(web.heard) == 2, "asked once each"
