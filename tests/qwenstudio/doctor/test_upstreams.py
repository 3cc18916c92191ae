"""What the doctor says of the servers that answer chat: well or not, and who else can reach them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from generation.models import Upstream
from qwenstudio.doctor import Finding, upstreams
from qwenstudio.doctor.ports import Listener
from tests.generation.chat.scripted import serving
from tests.generation.chat.test_asking import answer
from tests.qwenstudio.doctor.looking import look


@contextmanager
def served() -> Iterator[str]:
    """A server that is well, in a thread of its own; its base URL."""
    ready, end = threading.Event(), threading.Event()
    found: list[str] = []

    async def serve() -> None:
        async with serving(answer) as server:
            found.append(server.upstream().base_url)
            ready.set()
            await asyncio.to_thread(end.wait, 20)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        end.set()
        thread.join()


def offer(**fields: Any) -> None:
    Upstream.objects.create(slug="desk", **fields)


def said() -> list[tuple[str, str]]:
    found: list[Finding] = look("upstreams")
    assert all(finding.name == "upstream desk" and (finding.level == "ok" or finding.remedy) for finding in found)
    return [(finding.level, finding.text) for finding in found]


def test_none_at_all(db: None) -> None:
    assert said() == []
    offer(base_url="http://127.0.0.1:1", enabled=False)
    assert said() == []


def test_one_that_is_well(db: None) -> None:
    with served() as base_url:
        offer(base_url=base_url)
        assert said() == [("ok", f"{base_url} is well")]


def test_one_that_does_not_answer(db: None) -> None:
    offer(base_url="http://127.0.0.1:1")
    ((level, text),) = said()
    assert level == "warn" and "127.0.0.1" in text


def test_one_whose_host_is_nowhere(db: None) -> None:
    offer(base_url="http://nowhere.invalid")
    ((level, text),) = said()
    assert level == "fail" and text.startswith("nowhere.invalid has no address")


@pytest.mark.parametrize("production", [False, True])
def test_a_loopback_one_that_answers_to_all(
    db: None, settings: Settings, production: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PRODUCTION = production
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104  (that is what is to be found)
        port = server.getsockname()[1]
        offer(base_url=f"http://127.0.0.1:{port}", first_byte_s=0.1)
        monkeypatch.setattr(upstreams, "check_health", well)
        level = "fail" if production else "warn"
        assert said()[0] == (level, f"port {port} answers on 0.0.0.0 too, past the gateway and its limits")


async def well(upstream: Any) -> None:
    """No server behind it."""


def test_one_in_the_open(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(base_url="http://gpu.example.com:8000")
    addresses = [ipaddress.ip_address("10.0.0.7"), ipaddress.ip_address("2606:4700::1")]
    monkeypatch.setattr(upstreams, "resolve", lambda upstream: addresses)
    monkeypatch.setattr(upstreams, "check_health", well)
    assert said()[0] == (
        "warn",
        "answers on the public address 2606:4700::1: whoever finds it needs no key of this studio",
    )
    addresses.pop()
    listeners = [Listener(ipaddress.ip_address("0.0.0.0"), 8000)]  # noqa: S104
    monkeypatch.setattr(upstreams, "read_listeners", lambda: listeners)
    assert said() == [("ok", "http://gpu.example.com:8000 is well")], "another machine's port is not ours"


def test_a_row_that_staff_broke(db: None) -> None:
    offer(base_url="ftp://127.0.0.1")
    ((level, text),) = said()
    assert level == "fail" and "must begin with http" in text
