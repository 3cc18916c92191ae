"""`python -m tests.proofs.interleaved`: 10,000 requests of 20 tenants in turns over 4 database connections, 0 mixed.

Everything that a tenant has carries the tenant's own marker, a word that stands nowhere else. Threads ask for pages,
files, lists, single rows, event streams and other tenants' ids, and write; hardly two requests in a row come from the
same tenant. Each answer may hold its own tenant's marker and ids only, and each row in the end its own tenant's marker.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.proofs.record import write_record

TENANTS = 20
REQUESTS = 10_000
CLIENTS = 16
CONNECTIONS = 4  # two of Django's pool and the door's two
POOL = 2
PROVES = (
    "accounts/tenancy.py",
    "accounts/web/middleware.py",
    "accounts/domain/callers.py",
    "generation/domain/gallery.py",
    "generation/domain/history.py",
    "generation/api",
    "generation/web",
    "qwenstudio/door",
)
MARKER = re.compile(rb"mk[0-9a-f]{12}")
UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass
class Party:
    """One tenant as its clients know it."""

    marker: str
    tenant: str
    secret: str
    session: str
    csrf: str
    finished: str  # a generation with a picture
    waiting: str
    image: str
    file: bytes
    ids: set[str] = field(default_factory=set)  # everything that is this tenant's

    def key(self) -> dict[str, str]:
        """Headers of a program."""
        return {"Authorization": f"Bearer {self.secret}"}

    def browser(self) -> dict[str, str]:
        """Headers of a person's browser."""
        cookie = f"studio_session={self.session}; studio_csrf={self.csrf}"
        return {"Cookie": cookie, "X-CSRFToken": self.csrf}


@dataclass(frozen=True)
class Ask:
    """One kind of request. `marked`: its answer must hold the own marker, so that an empty one is no success."""

    name: str
    method: str
    path: Callable[[Party, Party], str]
    status: int = 200
    marked: bool = True
    by_key: bool = True
    by_browser: bool = True
    endless: bool = False  # a stream: its first event is enough
    body: Callable[[Party], dict[str, Any] | None] = lambda party: None
    weight: int = 1


def _draw(party: Party) -> dict[str, Any]:
    return {"model": "demo", "prompt": f"a {party.marker} boat", "width": 64, "height": 64}


IMAGES = "/api/v1/images"
ASKS = (
    Ask("list", "GET", lambda own, other: IMAGES, weight=3),
    Ask("search", "GET", lambda own, other: f"{IMAGES}?q={own.marker}"),
    Ask("search for another's", "GET", lambda own, other: f"{IMAGES}?q={other.marker}", marked=False),
    Ask("read", "GET", lambda own, other: f"{IMAGES}/{own.finished}", weight=3),
    Ask("read another's", "GET", lambda own, other: f"{IMAGES}/{other.finished}", status=404, marked=False, weight=2),
    Ask("cancel another's", "POST", lambda own, other: f"{IMAGES}/{other.waiting}/cancel", status=404, marked=False),
    Ask("remove another's", "DELETE", lambda own, other: f"{IMAGES}/{other.finished}", status=404, marked=False),
    Ask("star", "PATCH", lambda own, other: f"{IMAGES}/{own.finished}", body=lambda own: {"starred": True}),
    Ask("submit", "POST", lambda own, other: IMAGES, status=202, body=_draw, weight=3),
    Ask("retry", "POST", lambda own, other: f"{IMAGES}/{own.finished}/retry", status=202),
    Ask("estimate", "POST", lambda own, other: "/api/v1/estimates", marked=False, body=_draw),
    Ask("me", "GET", lambda own, other: "/api/v1/me", weight=2),
    Ask("models", "GET", lambda own, other: "/api/v1/models", marked=False),
    Ask("watch", "GET", lambda own, other: f"{IMAGES}/{own.finished}/events", weight=2),
    Ask("watch all", "GET", lambda own, other: "/api/v1/events", endless=True),
    Ask("watch another's", "GET", lambda own, other: f"{IMAGES}/{other.finished}/events", status=404, marked=False),
    Ask("file", "GET", lambda own, other: f"/files/{own.image}", marked=False),
    Ask("another's file", "GET", lambda own, other: f"/files/{other.image}", status=404, marked=False),
    Ask("studio page", "GET", lambda own, other: "/studio/", by_key=False),
    Ask("studio state", "GET", lambda own, other: "/studio/state/", by_key=False),
    Ask("gallery page", "GET", lambda own, other: "/gallery/", by_key=False, weight=2),
    Ask("picture page", "GET", lambda own, other: f"/gallery/{own.finished}/", by_key=False),
    Ask("another's page", "GET", lambda own, other: f"/gallery/{other.finished}/", 404, marked=False, by_key=False),
    Ask("keys page", "GET", lambda own, other: "/keys/", by_key=False),
)


@dataclass
class Tally:
    """What all clients have found; `mixed` and `wrong` in words."""

    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    switches: int = 0  # requests that followed another tenant's on the same connection
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_parties(count: int, media: Path) -> list[Party]:
    """Tenants that have something to show; the marker is in every name, prompt and file of theirs."""
    from django.db import connections

    from tests.chaos.rig import offer_sleeping_model

    offer_sleeping_model()
    parties = [_make_party(number, media) for number in range(count)]
    connections.close_all()
    connections["default"].close_pool()  # ours would be counted among the web's
    return parties


def _make_party(number: int, media: Path) -> Party:
    from accounts.models import ApiKey
    from accounts.tenancy import in_tenant
    from tests.factories import make_person, make_plan, make_tenant, make_user
    from tests.generation.api.calls import finish
    from tests.generation.domain.desk import submit

    marker = f"mk{random.Random(number).getrandbits(48):012x}"
    plan = make_plan(requests_per_minute=100_000, tenant_requests_per_minute=100_000, queue_length=100_000)
    tenant, owner = make_tenant(f"{marker} & Co", owner=make_user(marker), plan=plan)
    person = make_person(tenant, owner)
    with in_tenant(tenant.pk):
        ApiKey.objects.update(name=f"{marker} key")
    finished, waiting = (submit(person.key_caller, prompt=f"a {marker} house") for _ in range(2))
    image = finish(person, finished, media)
    file = media / image.file
    file.write_bytes(file.read_bytes() + marker.encode())
    party = Party(
        marker=marker,
        tenant=str(tenant.pk),
        secret=person.secret,
        session=person.client.cookies["studio_session"].value,
        csrf=marker.ljust(32, "0"),
        finished=str(finished),
        waiting=str(waiting),
        image=str(image.pk),
        file=file.read_bytes(),
    )
    party.ids |= {party.tenant, party.finished, party.waiting, party.image, str(owner.pk), str(person.key.pk)}
    return party


def interleave(
    url: str, parties: Sequence[Party], *, requests: int = REQUESTS, clients: int = CLIENTS, seed: int = 1
) -> Tally:
    """Let the clients ask in turns for one tenant after the other; what they have found."""
    tally = Tally()
    owners = {id: party.marker for party in parties for id in party.ids}
    threads = [
        threading.Thread(
            target=_run_client,
            kwargs={
                "url": url, "parties": parties, "owners": owners, "tally": tally,
                "chance": random.Random(f"{seed}-{number}"), "turns": len(range(number, requests, clients)),
            },
        )
        for number in range(clients)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def _run_client(
    *, url: str, parties: Sequence[Party], owners: dict[str, str], tally: Tally, chance: random.Random, turns: int
) -> None:
    last = ""
    weights = [ask.weight for ask in ASKS]
    with httpx.Client(base_url=url, timeout=120) as http:
        for _ in range(turns):
            own, other = chance.sample(parties, 2)
            ask = chance.choices(ASKS, weights)[0]
            by_key = ask.by_key and (not ask.by_browser or chance.random() < 0.5)
            try:
                found = _ask(http, ask, own, other, owners, by_key=by_key)
            except Exception as error:  # a client that dies would leave a smaller, quieter proof
                found = (0, [], [f"{ask.name}: {type(error).__name__}: {error}"])
            http.cookies.clear()
            with tally.lock:
                tally.kinds[ask.name] += 1
                tally.statuses[str(found[0])] += 1
                tally.mixed += found[1]
                tally.wrong += found[2]
                tally.switches += own.marker != last
            last = own.marker


def _ask(
    http: httpx.Client, ask: Ask, own: Party, other: Party, owners: dict[str, str], *, by_key: bool
) -> tuple[int, list[str], list[str]]:
    """One request: its status, what was mixed up, what was wrong."""
    path = ask.path(own, other)
    request = http.build_request(ask.method, path, headers=own.key() if by_key else own.browser(), json=ask.body(own))
    answer = http.send(request, stream=True)
    body = _read_event(answer) if ask.endless else answer.read()
    answer.close()
    who = f"{ask.name} by {'key' if by_key else 'session'}"
    mixed = find_foreign(body, answer, own=own, owners=owners, asked=path)
    wrong = []
    if answer.status_code != ask.status:
        wrong.append(f"{who}: {answer.status_code} instead of {ask.status}: {body[:200]!r}")
    if ask.marked and own.marker.encode() not in body:
        wrong.append(f"{who}: nothing of one's own in it")
    if ask.name == "file" and body != own.file:
        mixed.append(f"{who}: another file")
    return answer.status_code, [f"{who}: {what}" for what in mixed], wrong


def _read_event(answer: httpx.Response) -> bytes:
    """A stream up to the end of its first event with data."""
    body = b""
    for piece in answer.iter_bytes():
        body += piece
        if b"data: " in body and body.endswith(b"\n\n"):
            break
    return body


def find_foreign(body: bytes, answer: httpx.Response, *, own: Party, owners: dict[str, str], asked: str) -> list[str]:
    """Markers and ids of other tenants in an answer; an id that was asked for may be repeated."""
    from accounts.domain.passes import PASS_COOKIE, read_pass

    text = body + b"\n" + repr(answer.headers.raw).encode()
    found = [f"the marker {one.decode()}" for one in set(MARKER.findall(text)) if one != own.marker.encode()]
    for one in set(UUID.findall(text)):
        owner = owners.get(one.decode())
        if owner not in (None, own.marker) and one.decode() not in asked:
            found.append(f"the id {one.decode()} of {owner}")
    held = read_pass(answer.cookies.get(PASS_COOKIE, ""))
    if held is not None and str(held.tenant) != own.tenant:
        found.append("a pass to another tenant")
    return found


def check_rows(parties: Sequence[Party], superuser_url: str) -> list[str]:
    """Every generation lies with the tenant whose marker its prompt has, and nobody's was cancelled or removed."""
    markers = {party.tenant: party.marker for party in parties}
    with psycopg.connect(superuser_url) as connection:
        rows = connection.execute(
            "SELECT id::text, tenant_id::text, prompt, status FROM generation_generation"
        ).fetchall()
    faults = [
        f"row {id} of {markers[tenant]}: {prompt}" for id, tenant, prompt, _ in rows if markers[tenant] not in prompt
    ]
    ids = {id: status for id, _, _, status in rows}
    faults += [f"{one} is gone" for party in parties for one in (party.finished, party.waiting) if one not in ids]
    return faults + [f"{party.waiting} was cancelled" for party in parties if ids.get(party.waiting) != "queued"]


class Watch:
    """The most database connections that the web process had at one moment."""

    def __init__(self, superuser_url: str) -> None:
        self.most = 0
        self._url, self._ended = superuser_url, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'qwenstudio-web-%'"
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.wait(0.05):
                row = connection.execute(sql).fetchone()
                self.most = max(self.most, row[0] if row else 0)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def measure(
    *, url: str, parties: Sequence[Party], superuser_url: str, requests: int = REQUESTS, clients: int = CLIENTS
) -> dict[str, Any]:
    """Everything; raw counts."""
    with Watch(superuser_url) as watch:
        tally = interleave(url, parties, requests=requests, clients=clients)
    return {
        "tenants": len(parties),
        "requests": tally.kinds.total(),
        "clients": clients,
        "database_connections_max": watch.most,
        "followed_another_tenants": tally.switches,
        "kinds": dict(sorted(tally.kinds.items())),
        "statuses": dict(sorted(tally.statuses.items())),
        "mixed": len(tally.mixed),
        "wrong": len(tally.wrong),
        "faults": [*tally.mixed, *tally.wrong][:20],
        "rows_mixed": check_rows(parties, superuser_url),
    }


def is_good(counts: dict[str, Any]) -> bool:
    """Nothing mixed, nothing unexpected, over no more connections than said."""
    return bool(
        counts["mixed"] == counts["wrong"] == 0
        and not counts["rows_mixed"]
        and counts["database_connections_max"] <= CONNECTIONS
        and len(counts["kinds"]) == len(ASKS)
    )


def main() -> int:
    """On servers of its own; 1 when anything was mixed."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-interleaved-"))
    with own_database(folder) as services:
        from tests.qwenstudio.fronts import running_front

        parties = make_parties(TENANTS, folder / "media")
        with running_front(folder, STUDIO_DB_POOL=str(POOL), STUDIO_STREAMS="100000") as front:
            counts = measure(url=front.url, parties=parties, superuser_url=services.superuser_url)
    good = is_good(counts) and counts["requests"] == REQUESTS and counts["tenants"] == TENANTS
    write_record("interleaved", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
