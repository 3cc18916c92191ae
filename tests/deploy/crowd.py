"""A crowd in front of a server: clients that ask without a pause, streams that stay open, and a count of everything.

Clients are strict: connections are kept for as long as nginx keeps them, and nothing is asked twice but a GET whose
kept connection was closed under it before a byte came back, which every browser sends again (RFC 9110, 9.2.2); those
are counted apart. Submits go over connections of their own, so no submit is ever sent twice.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.clients import Listener
from tests.deploy.nginxes import DOMAIN, Pinned, RunningNginx

PAGES = ("/studio/", "/gallery/", "/keys/")
LISTS = ("/api/v1/images?limit=10", "/api/v1/models", "/api/v1/me")
CONNECTED = "connection.connect_tcp.started"
NEVER = httpx.Limits(keepalive_expiry=None)
OWN = httpx.Limits(max_keepalive_connections=0)
PICTURE_URL = re.compile(r'"url":"https://[^/"]+(/[^"]+)"')
BYTES = {"image/png": b"\x89PNG", "image/webp": b"RIFF"}


@dataclass(frozen=True)
class Visitor:
    """A person of a tenant: a key for programs, a session for the browser."""

    tenant: str
    secret: str
    session: str


@dataclass
class Counts:
    """What happened, for all threads."""

    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    lanes: Counter[str] = field(default_factory=Counter)
    sent_again: int = 0
    failures: list[str] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    longest: tuple[float, str] = (0.0, "")


class Crowd:
    """`clients` threads and `streams` listeners, spread over the visitors."""

    def __init__(
        self,
        nginx: RunningNginx,
        visitors: Sequence[Visitor],
        *,
        log: Path,
        clients: int,
        streams: int,
        pause_s: float = 0.0,
        every_s: float = 0.0,
        submits: float = 0.05,
    ) -> None:
        self._nginx, self.visitors, self._trust = nginx, visitors, nginx.trust()
        self._pause_s, self._every_s, self._submits = pause_s, every_s, submits
        self.counts, self.log = Counts(), log
        self.accepted: dict[str, list[str]] = {visitor.secret: [] for visitor in visitors}
        self._pictures: dict[str, list[str]] = {visitor.secret: [] for visitor in visitors}
        self._lock = threading.Lock()
        self.enough = threading.Event()
        self._ended = threading.Event()
        self._clients = [
            threading.Thread(target=self._guard, args=(number, visitors[number % len(visitors)]), daemon=True)
            for number in range(clients)
        ]
        self.listeners = [
            (visitor, Listener(nginx, {"X-Api-Key": visitor.secret}))
            for number in range(streams)
            for visitor in [visitors[number % len(visitors)]]
        ]
        self._streams = [
            threading.Thread(target=listener.run, args=(self._ended,), daemon=True) for _, listener in self.listeners
        ]

    # ---- around

    def open_streams(self) -> None:
        """Every stream is open before anything is asked for, so that each must see everything."""
        for thread in self._streams:
            thread.start()
        until = time.monotonic() + 60
        while any(not listener.openings for _, listener in self.listeners):
            assert time.monotonic() < until, "streams do not open"
            time.sleep(0.05)

    def start(self) -> None:
        """Let the clients in."""
        for thread in self._clients:
            thread.start()

    def wait_for(self, requests: int, *, seconds: float = 900) -> None:
        """Until so many requests were sent."""
        until = time.monotonic() + seconds
        while self.counts.requests < requests:
            assert time.monotonic() < until, f"{self.counts.requests} requests after {seconds:.0f} s"
            time.sleep(0.05)

    def stop_asking(self) -> None:
        """Let every client end the request that it has under way."""
        self.enough.set()
        for thread in self._clients:
            thread.join(90)
            assert not thread.is_alive(), "a client does not end"

    def close(self) -> None:
        """End the streams: each reads its next line and leaves."""
        self.enough.set()
        self._ended.set()
        for thread in self._streams:
            thread.join(60)

    def missing_events(self) -> int:
        """Accepted generations whose end a stream of their owner has not told."""
        missing = 0
        for visitor, listener in self.listeners:
            told = {found for name, found in list(listener.events) if name == "succeeded"}
            missing += len(set(self.accepted[visitor.secret]) - told)
        return missing

    def wait_for_streams(self, *, seconds: float = 60) -> None:
        """Until every end was told and every stream has come back, or the time is up: counts say what is missing."""
        until = time.monotonic() + seconds
        while self.missing_events() or any(listener.openings < 2 for _, listener in self.listeners):
            if time.monotonic() > until:
                return
            time.sleep(0.2)

    def as_json(self) -> dict[str, Any]:
        """The raw counts."""
        counts, ms = self.counts, sorted(self.counts.ms)
        return {
            "clients": len(self._clients),
            "requests": counts.requests,
            "statuses": dict(sorted(counts.statuses.items())),
            "kinds": dict(sorted(counts.kinds.items())),
            "failed": len(counts.failures),
            "failures": counts.failures[:20],
            "reads_sent_again_over_a_new_connection": counts.sent_again,
            "submits_sent_again": 0,
            "p50_ms": round(ms[len(ms) // 2]) if ms else None,
            "p95_ms": round(ms[int(len(ms) * 0.95)]) if ms else None,
            "max_ms": round(counts.longest[0]),
            "slowest": counts.longest[1],
            "streams": len(self.listeners),
            "stream_openings": sum(listener.openings for _, listener in self.listeners),
            "streams_that_resumed": sum(listener.openings > 1 for _, listener in self.listeners),
            "stream_openings_with_last_event_id": sum(listener.resumed for _, listener in self.listeners),
            "stream_failures": [failure for _, listener in self.listeners for failure in listener.failures][:20],
            "stream_events": sum(len(listener.events) for _, listener in self.listeners),
            "ends_not_told": self.missing_events(),
        }

    # ---- a client

    def _guard(self, number: int, visitor: Visitor) -> None:
        try:
            self._work(number, visitor)
        except Exception as error:
            self.counts.failures.append(f"the client itself: {error!r}")

    def _work(self, number: int, visitor: Visitor) -> None:
        chance = random.Random(number)
        with (
            self._client(NEVER, {"Authorization": f"Bearer {visitor.secret}"}) as program,
            self._client(OWN, {"Authorization": f"Bearer {visitor.secret}"}) as writer,
            self._client(NEVER, {}) as browser,
        ):
            browser.cookies.set("studio_session", visitor.session)
            began = time.monotonic() + chance.uniform(0, self._every_s)
            while self._take_turn():
                # Not faster than `every_s`; whoever is late begins at once and makes up for nothing.
                self.enough.wait(max(0.0, began - time.monotonic()))
                began = max(began, time.monotonic()) + self._every_s
                kind = self._choose(chance, visitor)
                if kind == "submit":
                    self._submit(writer, visitor, chance)
                elif kind == "page":
                    self._read(browser, kind, chance.choice(PAGES), visitor)
                elif kind == "picture":
                    self._read(program, kind, chance.choice(self._pictures[visitor.secret]), visitor)
                else:
                    self._read(program, kind, chance.choice(LISTS), visitor)
                if self._pause_s:
                    self.enough.wait(chance.uniform(0, 2 * self._pause_s))

    def _client(self, limits: httpx.Limits, headers: dict[str, str]) -> httpx.Client:
        port = self._nginx.site.https_port
        return httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            transport=Pinned(verify=self._trust, limits=limits),
            headers={"Host": f"{DOMAIN}:{port}", **headers},
            timeout=60,
        )

    def _take_turn(self) -> bool:
        with self._lock:
            if self.enough.is_set():
                return False
            self.counts.requests += 1
            return True

    def _choose(self, chance: random.Random, visitor: Visitor) -> str:
        value = chance.random()
        if value < self._submits or not self.accepted[visitor.secret]:
            return "submit"
        if value < self._submits + 0.15:
            return "page"
        return "picture" if value < self._submits + 0.6 and self._pictures[visitor.secret] else "list"

    def _submit(self, http: httpx.Client, visitor: Visitor, chance: random.Random) -> None:
        began, key = time.perf_counter(), f"{chance.getrandbits(96):x}"
        body = {"model": "demo", "prompt": "a red circle", "width": 64, "height": 64}
        try:
            answer = http.post("/api/v1/images", json=body, headers={"Idempotency-Key": key})
            status, found = answer.status_code, answer.json()
        except (httpx.HTTPError, ValueError) as error:
            status, found = 0, {"detail": repr(error)}
        id = found.get("id")
        with self._lock:
            self._note("submit", f"POST {status}", began, "" if status == 202 else f"POST {status}: {found}")
            entry = {"tenant": visitor.tenant, "status": status, "id": id, "n": 1}
            with self.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            if status == 202:
                self.accepted[visitor.secret].append(str(id))

    def _read(self, http: httpx.Client, kind: str, path: str, visitor: Visitor) -> None:
        began = time.perf_counter()
        connected: list[str] = []
        wrong = ""
        for again in (False, True):
            connected.clear()
            trace = {"trace": lambda name, _: connected.append(name) if name == CONNECTED else None}
            try:
                answer = http.get(path, extensions=trace)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                if again or connected or "incomplete" in str(error) or "closed connection without" in str(error):
                    status, wrong = 0, f"GET {path}: {error!r}"
                    break
                with self._lock:
                    self.counts.sent_again += 1
                continue
            except (httpx.HTTPError, ssl.SSLError) as error:
                status, wrong = 0, f"GET {path}: {error!r}"
                break
            status = answer.status_code
            wrong = "" if status == 200 and self._is_whole(kind, path, answer, visitor) else f"GET {path}: {status}"
            break
        with self._lock:
            self._note(kind, f"GET {status}", began, wrong)

    def _is_whole(self, kind: str, path: str, answer: httpx.Response, visitor: Visitor) -> bool:
        if kind == "page":
            return "</html>" in answer.text
        if kind == "picture":
            return answer.content.startswith(BYTES.get(answer.headers["content-type"], b"no picture"))
        if path == LISTS[0]:
            self._pictures[visitor.secret] = PICTURE_URL.findall(answer.text)
        return answer.text.startswith(("{", "["))

    def _note(self, kind: str, status: str, began: float, wrong: str) -> None:
        ms = 1000 * (time.perf_counter() - began)
        counts = self.counts
        counts.kinds[kind] += 1
        counts.statuses[status] += 1
        counts.ms.append(ms)
        if ms > counts.longest[0]:
            counts.longest = (ms, f"{kind} after {ms:.0f} ms at {time.strftime('%H:%M:%S')}")
        if wrong:
            counts.failures.append(wrong[:300])


@contextmanager
def crowd(nginx: RunningNginx, visitors: Sequence[Visitor], **options: Any) -> Iterator[Crowd]:
    """Streams open, clients in; everybody leaves in the end."""
    found = Crowd(nginx, visitors, **options)
    try:
        found.open_streams()
        found.start()
        yield found
    finally:
        found.close()


def make_visitors(number: int) -> list[Visitor]:
    """People of as many tenants, with room for whatever a crowd asks for."""
    from tests.factories import make_person, make_plan, make_tenant

    plan = make_plan(
        queue_length=100_000, concurrent_generations=16, requests_per_minute=1_000_000,
        tenant_requests_per_minute=1_000_000,
    )  # fmt: skip
    found = []
    for count in range(number):
        tenant, owner = make_tenant(f"Crowd {count}", plan=plan)
        person = make_person(tenant, owner)
        found.append(Visitor(str(tenant.pk), person.secret, person.client.cookies["studio_session"].value))
    return found
