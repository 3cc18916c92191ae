"""`/metrics`: real work moves its series, a dead database does not empty it, and only those who may read it find it."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.db import connection
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from pytest_django.fixtures import Settings
from redis import Redis

from accounts.domain.codes import CATALOGUE
from accounts.meters import METHODS
from accounts.meters import share as sharing
from generation.chat.record import OUTCOMES
from generation.domain.finish import fail_row, finish_slice
from generation.domain.sweep import sweep
from generation.models import Model, Worker
from qwenstudio.asgi import front
from qwenstudio.backup.outcome import note_failure, note_success, note_verified
from qwenstudio.metrics import show
from qwenstudio.metrics.levels import Look
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.domain.conftest import as_worker  # noqa: F401  (a fixture)
from tests.generation.domain.desk import claim, draw, submit
from tests.qwenstudio.backup.snapshots import make_snapshot
from tests.qwenstudio.exchange import Exchange, make_scope
from tests.series import find_routes

Series = dict[str, str]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Look anew each time, and at this process alone: servers of other tests may still run and count."""
    monkeypatch.setattr(show, "FRESH_S", -1.0)
    monkeypatch.setattr(sharing, "folder", lambda: tmp_path / "metrics")
    own = sharing.Share("web")
    own.start()
    monkeypatch.setattr(sharing, "_share", own)
    yield
    own.stop()


class Page:
    """What `/metrics` says, by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Of the one series with these labels (and perhaps others); None where there is none."""
        found = [one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        assert len(found) <= 1, f"{name} {labels}: {len(found)} series"
        return found[0] if found else None

    def since(self, before: Page, name: str, **labels: str) -> float:
        """By how much the series with these labels have risen together: tests before may have left any number."""
        return self._sum(name, labels) - before._sum(name, labels)

    def _sum(self, name: str, labels: dict[str, str]) -> float:
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())


def read() -> Page:
    response = Client().get("/metrics")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(response.content.decode())


# ---- what moves


@pytest.mark.django_db
def test_work_moves_its_series(alice: Person, as_worker: Callable[[], AbstractContextManager[None]]) -> None:  # noqa: F811
    offer_sleeping_model()
    before = read()
    for seed in range(3):
        submit(alice.caller, seed=seed, n=2)
    waiting = read()
    model = {"lane": "blue", "model": "demo"}
    assert waiting.since(before, "studio_generations_submitted_total", **model) == 3
    assert waiting.value("studio_queue_depth", **model, pool="demo") == 3
    assert (waiting.value("studio_queue_oldest_seconds", **model) or 0) > 0
    with as_worker():
        taken = claim()
        assert taken is not None and len(taken.rows) == 3
        running = Page(show.show_metrics().decode())
        assert running.value("studio_queue_depth", **model) == 0
        assert running.value("studio_queue_oldest_seconds", **model) == 0
        assert running.value("studio_generations_running", **model) == 3
        first, second, third = taken.rows
        assert finish_slice(row=first, images=draw(first), run_ms=100) == "finished"
        assert fail_row(row=second, code="engine_error", message="x", retry=True) == "retried"
        assert fail_row(row=third, code="bad_frame", message="x", retry=False) == "failed"
        again = claim()
        assert again is not None and [row.id for row in again.rows] == [second.id]
    after = read()
    assert after.since(before, "studio_generation_wait_seconds_count", **model) == 3, (
        "the first claim of each, no other"
    )
    assert after.since(before, "studio_images_total", **model) == 2
    assert after.since(before, "studio_generations_ended_total", **model, status="succeeded") == 1
    assert after.since(before, "studio_generations_ended_total", **model, status="failed") == 1
    assert after.since(before, "studio_generation_retries_total", **model, code="engine_error") == 1
    assert after.since(before, "studio_generation_failures_total", **model, code="bad_frame") == 1
    assert after.value("studio_generations_running", **model) == 1


@pytest.mark.django_db
def test_lost_leases_are_counted(
    alice: Person,
    as_worker: Callable[[], AbstractContextManager[None]],  # noqa: F811
    admin_sql: psycopg.Connection[Any],
) -> None:
    offer_sleeping_model()
    submit(alice.caller)
    before = read()
    lost = {"lane": "blue", "pool": "demo"}
    with as_worker():
        for number in range(5):
            assert claim() is not None
            admin_sql.execute("UPDATE generation_generation SET lease_until = now() - interval '1 s'")
            sweep()
            assert read().since(before, "studio_leases_lost_total", **lost) == number + 1
    after = read()
    assert after.since(before, "studio_generation_failures_total", model="demo", code="lost") == 1
    assert after.since(before, "studio_generations_ended_total", model="demo", status="failed") == 1
    assert after.since(before, "studio_generation_wait_seconds_count", model="demo") == 1, (
        "waited once, lost five times"
    )


@pytest.mark.django_db
def test_cancelled_work_ends_too(alice: Person) -> None:
    offer_sleeping_model()
    before = read()
    generation = submit(alice.caller)
    assert alice.api.post(f"/api/v1/images/{generation}/cancel").status_code == 200
    assert read().since(before, "studio_generations_ended_total", model="demo", status="canceled") == 1


@pytest.mark.django_db
def test_requests_and_refusals_are_counted(alice: Person) -> None:
    before = read()
    alice.api.get("/api/v1/me")
    alice.api.get("/api/v1/me")
    alice.client.get("/gallery/")
    Client().get("/nowhere/at/all")
    Client().get("/gallery/0198c0de-0000-7000-8000-000000000000/")
    assert Client(headers={"Authorization": "Bearer qs_wrong"}).get("/api/v1/me").status_code == 401
    alice.api.post("/api/v1/images", {"model": "none", "prompt": "x"}, content_type="application/json")
    alice.api.generic("BREW", "/api/v1/me")
    after = read()
    assert after.since(before, "studio_http_requests_total", route="api-me", method="GET", status="2xx") == 2
    assert after.since(before, "studio_http_request_duration_seconds_count", route="api-me") == 4
    assert after.since(before, "studio_http_requests_total", route="api-me", status="4xx", method="GET") == 1
    assert after.since(before, "studio_http_requests_total", route="api-me", method="other") == 1
    assert after.since(before, "studio_http_requests_total", route="gallery", status="2xx") == 1
    assert after.since(before, "studio_http_requests_total", route="unknown", status="4xx") == 1
    assert after.since(before, "studio_refusals_total", code="invalid_api_key") == 1
    assert after.since(before, "studio_refusals_total", code="model_not_found") == 1


@pytest.mark.django_db
def test_refused_by_quota_and_by_rate(alice: Person) -> None:
    offer_sleeping_model()
    plan = alice.tenant.plan
    before = read()
    plan.queue_length, plan.requests_per_minute = 0, 2
    plan.save()
    body = {"model": "demo", "prompt": "x"}
    codes = [alice.api.post("/api/v1/images", body, content_type="application/json").json()["code"] for _ in range(3)]
    assert codes == ["queue_full", "queue_full", "rate_limited"]
    after = read()
    assert after.since(before, "studio_refusals_total", code="queue_full") == 2
    assert after.since(before, "studio_refusals_total", code="rate_limited") == 1


@pytest.mark.django_db
def test_the_door_counts_its_own_and_nothing_twice(alice: Person) -> None:
    """A waiting submit is one request, although the door asks Django on the way."""
    from qwenstudio.door.app import Door
    from qwenstudio.door.bridge import Bridge
    from qwenstudio.wsgi import application

    offer_sleeping_model()
    headers = {"Authorization": f"Bearer {alice.secret}", "Prefer": "wait=1", "Content-Type": "application/json"}
    before = read()

    async def ask() -> tuple[Exchange, Exchange, Page]:
        door = Door(pages=Bridge(application, threads=4))
        await door.start()
        try:
            scope = make_scope("POST", "/api/v1/images", headers=headers)
            waited = await Exchange(scope, body=b'{"model": "demo", "prompt": "x"}').run(door)
            stream = Exchange(make_scope("GET", "/api/v1/events", headers={"Authorization": headers["Authorization"]}))
            running = asyncio.create_task(stream.run(door))
            await stream.until(b"event:")
            open_now = await asyncio.to_thread(read)
            stream.left.set()
            await running
            return waited, stream, open_now
        finally:
            await door.stop()

    waited, stream, open_now = asyncio.run(ask())
    assert (waited.status, stream.status) == (202, 200)
    after = read()
    assert after.since(before, "studio_http_requests_total", route="api-images-wait", method="POST", status="2xx") == 1
    assert after.since(before, "studio_http_requests_total", route="api-images", method="POST") == 0
    assert open_now.since(before, "studio_http_requests_total", route="api-events", status="2xx") == 1, (
        "at its beginning"
    )
    assert open_now.value("studio_event_streams", lane="blue") == 1
    assert open_now.value("studio_database_pool_max_connections", pool="door") == 2
    assert after.value("studio_event_streams", lane="blue") == 0
    assert after.value("studio_waiting_requests", lane="blue") == 0


@pytest.mark.django_db
def test_workers_errands_and_ticker(alice: Person, admin_sql: psycopg.Connection[Any]) -> None:
    offer_sleeping_model()
    place = {"name": "gpu-7", "pid": 1, "lane": "blue", "pool": "demo"}
    Worker.objects.create(**place, state="idle", memory_used=700)
    Worker.objects.create(**place, state="busy", memory_used=300)
    Worker.objects.create(**place, state="stopped", memory_used=5)
    admin_sql.execute("UPDATE generation_worker SET seen_at = now() - interval '42 s' WHERE state = 'busy'")
    admin_sql.execute(
        "INSERT INTO accounts_errand (id, kind, data, due_at, attempt, fence, error, created_at) VALUES"
        " (gen_random_uuid(), 'send_mail', '{}', now() - interval '90 s', 0, 0, '', now()),"
        " (gen_random_uuid(), 'send_mail', '{}', now() + interval '90 s', 0, 0, '', now())"
    )
    page = read()
    here = {"lane": "blue", "pool": "demo"}
    assert page.value("studio_workers", **here, state="idle") == 1
    assert page.value("studio_workers", **here, state="busy") == 1
    assert page.value("studio_workers", **here, state="drained") == 0
    assert 42 <= (page.value("studio_worker_heartbeat_age_seconds", **here) or 0) < 42 + 300
    assert page.value("studio_worker_memory_bytes", **here) == 1000
    assert (page.value("studio_errands", state="due"), page.value("studio_errands", state="later")) == (1, 1)
    assert (page.value("studio_errands_oldest_seconds") or 0) >= 90
    assert page.value("studio_ticker_running") == 0
    from generation.worker.ticker import LOCK

    admin_sql.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    try:
        assert read().value("studio_ticker_running") == 1
    finally:
        admin_sql.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    assert (page.value("studio_database_max_connections") or 0) >= (page.value("studio_database_connections") or 99) > 0


@pytest.mark.django_db
def test_an_empty_queue_is_zero_and_a_paused_pool_says_so(admin_sql: psycopg.Connection[Any]) -> None:
    offer_sleeping_model()
    admin_sql.execute(
        "INSERT INTO generation_pool (lane, name, paused_at, paused_reason, vtime)"
        " VALUES ('blue', 'demo', now(), 'x', 0)"
    )
    page = read()
    assert page.value("studio_queue_depth", lane="blue", pool="demo", model="demo") == 0
    assert page.value("studio_pool_paused", lane="blue", pool="demo") == 1


# ---- what does not answer


@pytest.mark.django_db
def test_without_the_database(monkeypatch: pytest.MonkeyPatch, redis: Redis) -> None:
    assert read().value("studio_database_up") == 1
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    page = read()
    assert page.value("studio_database_up") == 0
    assert page.value("studio_valkey_up") == 1
    assert page.value("studio_metrics_source_up", source="levels") == 1, "that it is away was read"
    assert "studio_queue_depth" not in page.families
    assert page.value("studio_build_info") == 1
    assert page.families["studio_http_requests"].samples


@pytest.mark.django_db
def test_a_database_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Look._busy.acquire(blocking=False)  # the last look has not come back
    try:
        assert read().value("studio_database_up") == 0
    finally:
        Look._busy.release()
    assert read().value("studio_database_up") == 1


@pytest.mark.django_db
def test_a_statement_that_fails_costs_its_part_only(admin_sql: psycopg.Connection[Any]) -> None:
    admin_sql.execute("ALTER TABLE generation_pool RENAME TO gone")
    try:
        page = read()
    finally:
        admin_sql.execute("ALTER TABLE gone RENAME TO generation_pool")
    assert page.value("studio_database_up") == 1
    assert page.value("studio_metrics_source_up", source="levels") == 0
    assert page.families["studio_http_requests"]


@pytest.mark.django_db
def test_without_valkey(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert read().value("studio_valkey_up") == 0
    settings.REDIS_URL = ""
    assert "studio_valkey_up" not in read().families


# ---- the certificate


def make_certificate(path: Path, *, ends: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "studio.test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, ends - dt.timedelta(days=90), ends)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.mark.django_db
def test_the_certificates_last_day(settings: Settings, tmp_path: Path) -> None:
    assert "studio_certificate_readable" not in read().families
    ends = dt.datetime(2031, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    settings.STUDIO_CERTIFICATE = tmp_path / "fullchain.pem"
    page = read()
    assert page.value("studio_certificate_readable") == 0
    assert page.value("studio_certificate_expiry_timestamp_seconds") is None
    make_certificate(tmp_path / "fullchain.pem", ends=ends)
    page = read()
    assert page.value("studio_certificate_readable") == 1
    assert page.value("studio_certificate_expiry_timestamp_seconds") == ends.timestamp()
    (tmp_path / "fullchain.pem").write_text("no certificate")
    assert read().value("studio_certificate_readable") == 0


@pytest.mark.django_db
def test_the_last_backup(settings: Settings, tmp_path: Path) -> None:
    """By the note that it leaves, also after one that failed; nothing is said where there was none."""
    settings.STUDIO_VAR = tmp_path
    names = ("last_success_timestamp_seconds", "size_bytes", "failed", "last_verified_timestamp_seconds")
    assert [read().value(f"studio_backup_{name}") for name in names] == [None] * 4
    made = make_snapshot(tmp_path / "b", hours=3)
    note_success(tmp_path, made)
    began = dt.datetime.fromisoformat(made.made_at).timestamp()
    assert [read().value(f"studio_backup_{name}") for name in names] == [began, 760, 0, None]
    note_failure(tmp_path, "no room")
    note_verified(tmp_path, damage="")
    page = read()
    assert [page.value(f"studio_backup_{name}") for name in names[:3]] == [began, 760, 1]
    assert (page.value("studio_backup_last_verified_timestamp_seconds") or 0) > began


# ---- who may read it

NOT_THERE = "/metrics-that-are-not-there"
PLACES = [
    # remote, X-Forwarded-For, trusted proxies, networks, may
    ("127.0.0.1", None, "", "", True),
    ("::1", None, "", "", True),
    ("::ffff:127.0.0.1", None, "", "", True),
    ("10.0.0.5", None, "", "", False),
    ("10.0.0.5", None, "", "10.0.0.0/8", True),
    ("127.0.0.1", None, "", "10.0.0.0/8", False),  # the setting takes loopback's place
    ("127.0.0.1", None, "127.0.0.1", "", True),  # Prometheus beside a trusted nginx, not through it
    ("127.0.0.1", "203.0.113.9", "127.0.0.1", "", False),  # through it
    ("127.0.0.1", "10.0.0.5", "127.0.0.1", "10.0.0.0/8", True),
    ("127.0.0.1", "10.0.0.5, 203.0.113.9", "127.0.0.1", "10.0.0.0/8", False),  # the left part anybody can write
    ("127.0.0.1", "127.0.0.1, 203.0.113.9", "127.0.0.1", "", False),
    ("127.0.0.1", "203.0.113.9", "", "", False),  # a proxy that nobody trusts: its clients are not loopback
    ("127.0.0.1", "127.0.0.1", "", "", False),
    ("127.0.0.1", "rubbish", "127.0.0.1", "", False),
    ("", None, "", "", False),
]


def networks(text: str) -> list[Any]:
    return [ipaddress.ip_network(text)] if text else []


@pytest.mark.django_db
@pytest.mark.parametrize(("remote", "forwarded", "trusted", "allowed", "may"), PLACES)
def test_who_may_read_it(
    remote: str, forwarded: str | None, trusted: str, allowed: str, may: bool, settings: Settings
) -> None:
    settings.STUDIO_TRUSTED_PROXIES = networks(trusted)
    if allowed:
        settings.STUDIO_METRICS_NETWORKS = networks(allowed)
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    response = Client().get("/metrics", REMOTE_ADDR=remote, headers=headers)
    client = (remote, 1) if remote else None
    through_front = asyncio.run(Exchange(make_scope("GET", "/metrics", headers=headers, client=client)).run(front))
    assert response.status_code == through_front.status == (200 if may else 404)
    if may:
        assert b"studio_build_info" in response.content and b"studio_build_info" in through_front.received
    else:
        other = Client().get(NOT_THERE, REMOTE_ADDR=remote, headers=headers)
        assert strip(other.content, NOT_THERE) == strip(response.content, "/metrics"), "as any page that is not there"


def strip(content: bytes, path: str) -> str:
    """Without what differs between any two answers: the path, the request's id and the form's token."""
    return re.sub(r"[0-9a-f]{32}|[0-9A-Za-z]{64}", "", content.decode().replace(path, ""))


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["X-Real-IP", "Forwarded", "Via"])
def test_what_a_proxy_brings_without_saying_for_whom(header: str, settings: Settings) -> None:
    settings.STUDIO_TRUSTED_PROXIES = networks("127.0.0.1")
    assert Client().get("/metrics", headers={header: "1.1 proxy"}).status_code == 404


@pytest.mark.django_db
def test_the_host_check_stops_nobody_who_may(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["studio.example.com"]
    assert Client().get("/metrics", headers={"Host": "127.0.0.1:18787"}).status_code == 200
    assert Client().get("/studio/", headers={"Host": "127.0.0.1:18787"}).status_code == 400
    scope = make_scope("GET", "/metrics", headers={"Host": "127.0.0.1:18787"})
    assert asyncio.run(Exchange(scope).run(front)).status == 200


@pytest.mark.django_db
def test_only_reading(alice: Person) -> None:
    assert Client().head("/metrics").status_code == 200
    assert Client().post("/metrics").status_code == 404


@pytest.mark.django_db
def test_a_scrape_counts_for_nothing(alice: Person, redis: Redis) -> None:
    """No rate, no session, no request of its own, and the key in its headers is not looked at."""
    before = read()
    for _ in range(5):
        assert alice.api.get("/metrics").status_code == 200
    assert redis.keys("qs:*") == []
    after = read()
    assert all("metrics" not in str(sample.labels.get("route")) for sample in after.samples)
    assert after.since(before, "studio_http_requests_total", route="unknown") == 0


@pytest.mark.django_db
def test_many_who_ask_cost_one_look_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "FRESH_S", 3600.0)
    monkeypatch.setattr(show, "_last", None)
    first = Client().get("/metrics").content
    assert Client().get("/metrics").content == first


# ---- what it looks like


def labels_of(sample: Sample) -> tuple[str, frozenset[tuple[str, str]]]:
    return sample.name, frozenset(sample.labels.items())


@pytest.mark.django_db
def test_names_and_labels(alice: Person) -> None:
    """The conventions of Prometheus, and no label that could have many values."""
    offer_sleeping_model()
    # What other tests of this process have counted, of models, lanes and errors that they made up.
    before = {labels_of(sample) for family in read().families.values() for sample in family.samples}
    submit(alice.caller)
    for path in (
        "/",
        "/studio/",
        "/gallery/",
        "/admin/",
        "/static/studio/studio.css",
        "/no/such/page",
        "/api/v1/nothing",
    ):
        alice.client.get(path)
    page = read()
    assert len(page.families) > 30
    known = {
        "lane": {"blue", "green"},
        "route": find_routes(),
        "method": METHODS | {"other"},
        "status": {"1xx", "2xx", "3xx", "4xx", "5xx", "succeeded", "failed", "canceled"},
        "code": CATALOGUE.keys(),
        "model": {model.slug for model in Model.objects.all()},
        "process": {"web", "stream", "worker", "errands", "ticker"},
        "outcome": {*OUTCOMES, "retry", "failed", "lost"},
        "direction": {"in", "out"},
    }
    ids = str(alice.tenant.pk), str(alice.user.pk), alice.tenant.name, alice.user.email
    for family in page.families.values():
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith("studio_")
        assert (family.type == "counter") == all(one.name.endswith("_total") for one in family.samples or [family]) or (
            family.type == "counter" and not family.samples
        ), family.name
        assert not any(unit in family.name for unit in ("_ms", "_percent", "_minutes", "_mb")), family.name
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert value in known.get(label, {value}) or labels_of(sample) in before, (
                    f"{sample.name}: {label}={value}"
                )
                assert value not in ids, sample.name
    assert "\nstudio_http_requests_created" not in page.text
