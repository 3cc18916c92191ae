"""`manage.py daily`: one UTC day in figures that a reader can trust, and nothing of the days beside it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from accounts.domain.denials import record_denial
from accounts.enums import ErrandKind
from accounts.models import AuditEvent, Counter, Errand
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.failures import FailureNote, write_failure
from generation.models import Failure, Generation, Worker
from qwenstudio.daily.stored import compare_latency
from qwenstudio.settings import BASE_DIR, database_urls
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.api.calls import submitted
from tests.qwenstudio.backup.snapshots import make_snapshot
from tests.qwenstudio.daily.test_access_log import access
from tests.qwenstudio.doctor.authority import Authority

pytestmark = pytest.mark.django_db
DAY = date(2024, 5, 14)
NOON = datetime(2024, 5, 14, 12, tzinfo=UTC)


def daily(*words: str) -> dict[str, Any]:
    """The report of that day as values."""
    out = io.StringIO()
    call_command("daily", "--day", str(DAY), "--json", *words, stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def text(*words: str) -> str:
    """The report of that day as people read it."""
    out = io.StringIO()
    call_command("daily", "--day", str(DAY), *words, stdout=out)
    return out.getvalue()


def move(generation: UUID, *, at: datetime = NOON, seconds: float = 10, **fields: Any) -> None:
    """Let a generation have been asked for then, and have ended so much later."""
    values = {"status": "succeeded", "created_at": at, "finished_at": at + timedelta(seconds=seconds), **fields}
    with across_tenants():
        assert Generation.objects.filter(pk=generation).update(**values) == 1


def test_an_empty_day(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    found = daily()
    assert found["day"] == "2024-05-14"
    assert found["requests"] is found["refused"] is found["slowest_routes"] is None, "unknown is not zero"
    assert found["generations"] == {
        "accepted": 0, "tenants": 0, "succeeded": 0, "failed": 0, "canceled": 0, "open": 0,
    }  # fmt: skip
    assert found["latency"]["p50_ms"] is None
    assert found["failed"] == found["failures"] == found["tenants"] == found["gpu"] == found["refused_noted"] == []
    assert found["certificates"] == {} and found["backup_age_h"] is None
    shown = text()
    assert shown.count("needs the access log: --log FILE") == 2
    assert "nothing was drawn" in shown and "newest backup               none" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_pictures_of_the_day_and_of_no_other(alice: Person, bob: Person, mallory: Person) -> None:
    offer_sleeping_model()
    for person in (alice, bob, mallory):
        move(submitted(person), seconds=10)
    move(submitted(alice), seconds=110)
    move(submitted(alice), at=NOON - timedelta(hours=12), seconds=10)  # the first moment of the day
    move(submitted(alice), at=NOON + timedelta(hours=12), seconds=10)  # the first one of the next
    move(submitted(alice), status="canceled")
    for days, seconds in ((1, 20), (7, 40), (8, 4000)):
        move(submitted(alice), at=NOON - timedelta(days=days), seconds=seconds)
    found = daily()
    assert found["generations"] == {
        "accepted": 6, "tenants": 2, "succeeded": 5, "failed": 0, "canceled": 1, "open": 0,
    }  # fmt: skip
    assert found["latency"] == {
        "pictures": 5, "days_before": 2, "p50_ms": 10_000, "p50_ms_before": 30_000,
        "p95_ms": 90_000, "p95_ms_before": 30_000,
    }  # fmt: skip
    assert "10.0 s (mean of 2 of the 7 days before: 30.0 s, -67%)" in text()


def test_failures_and_refusals_by_code_and_key(alice: Person, bob: Person) -> None:
    offer_sleeping_model()
    for person, code in ((alice, "bad_frame"), (alice, "bad_frame"), (bob, "out_of_memory")):
        generation = submitted(person)
        with in_tenant(person.tenant.pk):
            write_failure(tenant=person.tenant.pk, generation=generation, code=code, note=FailureNote(worker=None))
        move(generation, status="failed", error_code=code)
    move(submitted(alice), status="failed", error_code="lost", at=NOON + timedelta(days=1))
    record_denial("denied", tenant=alice.tenant.pk, key=alice.key.pk, detail={"code": "not_allowed"})
    record_denial("key.refused", tenant=None, credential="qs_live_abcd", address="192.0.2.1",
                  detail={"code": "invalid_api_key", "prefix": "qs_live_abcd"})  # fmt: skip
    with across_tenants():
        Failure.objects.update(created_at=NOON)
    found = daily()
    assert found["failed"] == [
        {"code": "bad_frame", "key": alice.key.prefix, "count": 2},
        {"code": "out_of_memory", "key": bob.key.prefix, "count": 1},
    ]
    assert found["failures"] == [
        {"reason": "bad_frame", "tries": 2, "generations": 2},
        {"reason": "out_of_memory", "tries": 1, "generations": 1},
    ]
    assert found["refused_noted"] == [], "they happened today"
    out = io.StringIO()
    call_command("daily", "--day", str(datetime.now(UTC).date()), "--json", stdout=out)
    assert {(row["code"], row["key"]) for row in json.loads(out.getvalue())["refused_noted"]} == {
        ("not_allowed", alice.key.prefix), ("invalid_api_key", "qs_live_abcd"),
    }  # fmt: skip
    assert f"bad_frame, {alice.key.prefix}…: 2" in text()
    assert alice.secret not in text()


def test_the_five_largest_tenants(alice: Person, mallory: Person) -> None:
    for person, images, gpu_ms in ((alice, 3, 4500), (mallory, 7, 90_000)):
        with in_tenant(person.tenant.pk):
            for metric, used in (("images", images), ("gpu_ms", gpu_ms)):
                Counter.objects.create(
                    tenant_id=person.tenant.pk, scope="tenant", scope_id=person.tenant.pk, metric=metric, period="day",
                    starts_on=DAY, used=used,
                )  # fmt: skip
    found = daily()["tenants"]
    assert [(row["name"], row["images"], row["gpu_s"]) for row in found] == [("B", 7, 90.0), ("A", 3, 4.5)]
    assert "B: 90 s, 7 images" in text()


def test_workers_errands_and_sign_ins() -> None:
    worker = {"pid": 1, "lane": "blue", "pool": "demo", "device": "H100", "memory_total": 80 * 1024**3}
    Worker.objects.create(name="day", memory_used=60 * 1024**3, started_at=NOON, seen_at=NOON, **worker)
    for days in (-2, 2):
        moment = NOON + timedelta(days=days)
        Worker.objects.create(name="other", memory_used=1, started_at=moment, seen_at=moment, **worker)
    with across_tenants():
        Errand.objects.create(kind=ErrandKind.SEND_MAIL, data={}, failed_at=NOON)
        Errand.objects.create(kind=ErrandKind.SEND_MAIL, data={}, failed_at=NOON - timedelta(days=3))
        Errand.objects.create(kind=ErrandKind.SEND_MAIL, data={})
        for result, moment in (
            ("refused", NOON),
            ("refused", NOON),
            ("ok", NOON),
            ("refused", NOON + timedelta(days=1)),
        ):
            AuditEvent.objects.create(action="sign_in", result=result, created_at=moment)
    found = daily()
    assert [row["name"] for row in found["gpu"]] == ["day"]
    assert found["errands"] == {"failed": 1, "failed_now": 2}
    assert found["sign_ins"] == {"signed_in": 1, "refused": 2}
    assert "day (blue, demo): 60.0 of 80.0 GiB, H100" in text()


def test_the_log_gives_requests_refusals_and_routes(alice: Person, tmp_path: Path) -> None:
    lines = [
        access("/studio/", ms=1234.0),
        access("/api/v1/images", method="POST", status=429, code="quota_exceeded", key=str(alice.key.pk)),
        access("/api/v1/images", method="POST", status=401, code="invalid_api_key"),
        access("/api/v1/images", method="POST", status=403, key="0190a3b4-5c6d-7e8f-9012-3456789abcde"),
    ]
    (tmp_path / "log").write_bytes(b"".join(lines))
    found = daily("--log", str(tmp_path / "log"))
    assert found["requests"] == {"total": 4, "statuses": {"2xx": 1, "4xx": 3}}
    assert found["refused"] == [
        {"code": "quota_exceeded", "key": alice.key.prefix, "count": 1},
        {"code": "invalid_api_key", "key": "", "count": 1},
        {"code": "403", "key": "(deleted)", "count": 1},
    ]
    assert found["slowest_routes"][0]["route"] == "GET /studio/"
    shown = text("--log", str(tmp_path / "log"))
    assert "needs the access log" not in shown
    assert f"quota_exceeded, {alice.key.prefix}…: 1" in shown
    assert "GET /studio/: 1,234 ms, at most 1,234 ms, 1 requests" in shown
    # The same by a pipe, as from journalctl.
    line = [sys.executable, "manage.py", "daily", "--day", str(DAY), "--json", "--log", "-"]
    done = subprocess.run(line, cwd=BASE_DIR, input=b"".join(lines), capture_output=True, timeout=120)
    assert json.loads(done.stdout)["refused"] == found["refused"], done.stderr


def test_this_machine(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: Path) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    settings.STUDIO_CERTIFICATE, _ = Authority(tmp_path).sign("site", days=42)
    settings.STUDIO_VAR = tmp_path
    make_snapshot(tmp_path / "var" / "backups" / "qwenstudio", hours=5)
    found = daily()
    assert found["certificates"] == {str(settings.STUDIO_CERTIFICATE): pytest.approx(42, abs=0.2)}
    assert found["backup_age_h"] == pytest.approx(5, abs=0.2)
    assert found["disks_free"]["media"] > 0


def test_what_cannot_be_read_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        daily("--log", str(tmp_path / "absent"))
    with pytest.raises(CommandError, match="is no day like"):
        call_command("daily", "--day", "yesterday")
    monkeypatch.setitem(database_urls, "worker", "postgresql://studio_worker:x@127.0.0.1:1/studio")
    with pytest.raises(CommandError, match="the database does not answer"):
        daily()
    monkeypatch.setitem(database_urls, "worker", "")
    with pytest.raises(CommandError, match="DATABASE_WORKER_URL"):
        daily()


def test_yesterday_is_the_default() -> None:
    out = io.StringIO()
    call_command("daily", "--json", stdout=out)
    assert json.loads(out.getvalue())["day"] == str(datetime.now(UTC).date() - timedelta(days=1))


def test_days_without_pictures_are_no_part_of_the_mean() -> None:
    rows = [{"day": DAY - timedelta(days=1), "count": 1, "p50": 4.0, "p95": 8.0}]
    assert compare_latency(rows, day=DAY) == {
        "pictures": 0, "days_before": 1, "p50_ms": None, "p50_ms_before": 4, "p95_ms": None, "p95_ms_before": 8,
    }  # fmt: skip
