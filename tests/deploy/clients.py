"""Clients that ask without a pause while something changes, and count what they got."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.deploy.nginxes import DOMAIN, RunningNginx

AGAIN = "sent again over a new connection"
"""What a browser does by itself when a connection that it had kept is closed under its request."""


@dataclass
class Asker:
    """A client with one connection that it keeps, as a browser does."""

    nginx: RunningNginx
    path: str
    method: str = "GET"
    counts: Counter[str] = field(default_factory=Counter)
    context: ssl.SSLContext | None = None
    connection: http.client.HTTPSConnection | None = None

    def run(self, until: threading.Event) -> None:
        while not until.is_set():
            self._ask()

    def _ask(self) -> None:
        kept = self.connection is not None
        try:
            status = self._send()
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.connection = None
            if not kept:
                self.counts[f"failed: {error!r}"] += 1
                return
            self.counts[AGAIN] += 1
            status = self._send()
        self.counts[str(status)] += 1

    def _send(self) -> int:
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(
                DOMAIN, self.nginx.site.https_port, timeout=60, context=self.context or self.nginx.trust()
            )
            self.connection._create_connection = _to_loopback  # type: ignore[attr-defined]
        self.connection.request(self.method, self.path, headers={"Host": DOMAIN})
        found = self.connection.getresponse()
        found.read()
        if found.getheader("Connection") == "close":
            self.connection.close()
            self.connection = None
        return found.status


def _to_loopback(address: tuple[str, int], *rest: object, **named: object) -> object:
    return socket.create_connection(("127.0.0.1", address[1]), timeout=60)


@dataclass
class Listener:
    """A browser's EventSource: comes back with the id of the last event that it has seen."""

    nginx: RunningNginx
    headers: dict[str, str]
    events: list[tuple[str, str]] = field(default_factory=list)
    last_id: str = ""
    openings: int = 0
    resumed: int = 0
    """Openings that named the last event."""
    failures: list[str] = field(default_factory=list)

    def run(self, until: threading.Event) -> None:
        while not until.is_set():
            again = {"Last-Event-ID": self.last_id} if self.last_id else {}
            try:
                with self.nginx.client() as client, client.stream(
                    "GET", "/api/v1/events", headers={**self.headers, **again}
                ) as answer:  # fmt: skip
                    if answer.status_code != 200:
                        self.failures.append(str(answer.status_code))
                    self.openings += 1
                    self.resumed += bool(again)
                    self._read(answer.iter_lines(), until)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                continue  # an old worker has ended

    def _read(self, lines: Iterator[str], until: threading.Event) -> None:
        name, found = "", ""
        for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("id: "):
                self.last_id = line.removeprefix("id: ")
            elif line.startswith("data: "):
                found = (re.findall(r'"id":"([0-9a-f-]{36})"', line) or [""])[0]
                self.events.append((name, found))
            if until.is_set():
                return


@contextmanager
def running(*jobs: Callable[[threading.Event], None]) -> Iterator[None]:
    until = threading.Event()
    threads = [threading.Thread(target=job, args=(until,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        until.set()
        for thread in threads:
            thread.join(60)
