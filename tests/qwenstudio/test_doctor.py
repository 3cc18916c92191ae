"""`manage.py doctor`: each thing that can be wrong is made wrong once, and named with what to do."""

from __future__ import annotations

import io
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis

from generation.models import Model, Worker
from qwenstudio.doctor import CHECKS, gpu, room
from qwenstudio.doctor.examine import examine
from qwenstudio.doctor.finding import Check, Finding
from qwenstudio.embedded import Services
from qwenstudio.management.commands import doctor as command
from qwenstudio.settings import BASE_DIR, database_urls
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.api.calls import submitted

CHECKPOINT = BASE_DIR / "generation" / "engine" / "demo" / "checkpoint"


def run(*names: str) -> list[Finding]:
    """These checks' findings."""
    return [finding for name in names for finding in CHECKS[name].find()]


def only(level: str, findings: list[Finding]) -> Finding:
    """The one finding of a level."""
    (found,) = [finding for finding in findings if finding.level == level]
    return found


@pytest.mark.django_db
def test_all_is_well(media: Path, redis: Redis) -> None:
    findings = run("settings", "database", "redis", "storage", "models")
    assert [finding.name for finding in findings if finding.level == "ok"] == [
        "settings", "database, web", "database, owner", "database, worker", "migrations", "redis", "storage",
        "model demo", "model demo-portrait",
    ]  # fmt: skip
    assert not [finding for finding in findings if finding.level == "fail"]


@pytest.mark.django_db
def test_role_above_the_policies_is_refused(monkeypatch: pytest.MonkeyPatch, services: Services) -> None:
    monkeypatch.setitem(database_urls, "web", services.superuser_url)
    found = only("fail", run("database"))
    assert found.name == "database, web"
    assert "row-level security" in found.text
    assert "roles.sql" in found.remedy


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["worker", "owner"])
def test_pages_with_a_role_that_sees_all_tenants_are_refused(
    monkeypatch: pytest.MonkeyPatch, services: Services, role: str
) -> None:
    monkeypatch.setitem(database_urls, "web", services.urls[role])
    found = only("fail", run("database"))
    assert found.name == "database, web"
    assert "all tenants" in found.text
    assert "studio_web in DATABASE_URL" in found.remedy


@pytest.mark.django_db
def test_role_that_cannot_sign_in_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, services: Services
) -> None:
    monkeypatch.setitem(database_urls, "worker", services.urls["worker"].replace("studio_worker:", "studio_worker:x"))
    found = only("fail", run("database"))
    assert found.name == "database, worker"
    assert "password" in found.text
    assert "DATABASE_WORKER_URL" in found.remedy


def test_no_studio_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database_urls, "web", "")
    assert only("fail", run("database")).remedy == "start one: make run"


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1/0"])
def test_redis_down_is_no_failure(settings: Settings, url: str) -> None:
    settings.REDIS_URL = url
    assert "sweep" in str(only("warn", run("redis")))


def test_redis_that_evicts_is_named(redis: Redis) -> None:
    before = redis.config_get("maxmemory-policy")["maxmemory-policy"]  # type: ignore[index]
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "allkeys-lru" in only("warn", run("redis")).text
    finally:
        redis.config_set("maxmemory-policy", before)


def test_storage_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.STUDIO_MEDIA = tmp_path / "file" / "media"
    assert str(settings.STUDIO_MEDIA) in only("fail", run("storage")).text


def test_little_room(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.STUDIO_MEDIA = tmp_path
    monkeypatch.setattr(room, "FREE_LOW", 1 << 62)
    found = next(finding for finding in run("disks") if "media" in finding.name)
    assert (found.level, found.remedy.split(":")[0]) == ("warn", "make room")


def test_broken_models_file_and_broken_checkpoint(settings: Settings, tmp_path: Path) -> None:
    settings.STUDIO_MODELS = tmp_path / "models.toml"
    assert str(tmp_path / "models.toml") in only("fail", run("models")).text
    folder = tmp_path / "copy"
    shutil.copytree(CHECKPOINT, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    entry = f'[mine]\nfamily = "qwen-image"\npath = "{folder}"\n'
    settings.STUDIO_MODELS.write_text(entry)
    found = only("fail", run("models"))
    assert found.name == "model mine"
    assert str(weights) in found.text
    settings.STUDIO_MODELS.write_text(f"{entry}enabled = false\n")
    assert "switches no model on" in only("warn", run("models")).text


def test_device_is_looked_at_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GiB" in run("device")[0].text
    monkeypatch.setattr(gpu, "DEVICE_PROGRAM", "raise SystemExit('no driver')")
    assert "no driver" in only("fail", run("device")).text


@pytest.mark.django_db
def test_work_without_a_worker_fails_and_a_worker_is_shown(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_sleeping_model()
    assert only("warn", run("workers")).text == "nothing waits; no worker serves it"
    assert "manage.py gpuworker --pool" in only("warn", run("workers")).remedy
    monkeypatch.setenv("STUDIO_ROOT", "/")
    assert "systemctl start studio.target" in only("warn", run("workers")).remedy, "an operator has units"
    monkeypatch.delenv("STUDIO_ROOT")
    submitted(alice)
    found = only("fail", run("workers"))
    assert found.name == "queue of demo" and found.text.startswith("1 waiting, the first for")
    Worker.objects.create(name="gpu-0", pid=1, lane="blue", pool="demo", serves=["other"], state="idle")
    assert only("fail", run("workers")).text.endswith("no worker serves it")
    Worker.objects.update(serves=["demo"])
    assert [finding.level for finding in run("workers")] == ["ok", "ok"]
    assert "idle, pool demo, serves demo" in run("workers")[0].text


@pytest.mark.django_db
def test_switched_off_models_and_failed_workers_are_named(alice: Person) -> None:
    offer_sleeping_model()
    submitted(alice)
    Model.objects.update(enabled=False)
    assert "switched off and nobody serves it" in only("fail", run("workers")).text
    hour_ago = timezone.now() - timedelta(hours=1)
    place = {"lane": "blue", "pool": "demo", "pid": 1}
    Worker.objects.create(
        name="gpu-0", state="failed", detail="vae is cut short", seen_at=hour_ago, started_at=hour_ago, **place
    )
    assert next(finding for finding in run("workers") if finding.name == "worker gpu-0").remedy == "vae is cut short"
    # A later one took its place.
    Worker.objects.create(name="gpu-1", state="idle", serves=["demo"], **place)
    assert [finding.name for finding in run("workers")] == ["worker gpu-1", "queue of demo"]


def test_check_that_breaks_is_a_finding() -> None:
    def broken() -> Any:
        raise ValueError("oops")
        yield

    checks = {"first": Check("a", broken), "second": Check("b", lambda: iter([Finding("ok", "second", "runs")]))}
    assert [(finding.level, finding.group, finding.text) for finding in examine(checks)] == [
        ("fail", "a", "ValueError: oops"),
        ("ok", "b", "runs"),
    ]


def test_bad_lines_come_first() -> None:
    lines = [Finding("ok", "a", "1"), Finding("warn", "b", "2"), Finding("fail", "c", "3"), Finding("ok", "d", "4")]
    found = examine({"all": Check("group", lambda: iter(lines))})
    assert [finding.name for finding in found] == ["c", "b", "a", "d"]


@pytest.mark.parametrize("level", ["warn", "fail"])
def test_command_prints_and_fails_only_on_failures(monkeypatch: pytest.MonkeyPatch, level: Any) -> None:
    line = Finding(level, "one", "seen", "do this")
    monkeypatch.setattr(command, "CHECKS", {"check": Check("group", lambda: iter([line]))})
    for words in (["--json"], ["--no-color"]):
        out, exits = io.StringIO(), False
        try:
            call_command("doctor", *words, stdout=out)
        except SystemExit as error:
            exits = error.code == 1
        assert exits == (level == "fail")
        if "--json" in words:
            told = {"group": "group", "level": level, "name": "one", "text": "seen", "remedy": "do this"}
            assert json.loads(out.getvalue()) == [told]
        else:
            rows = out.getvalue().splitlines()
            assert rows[0].split() == [level, "group", "one:", "seen"]
            assert rows[1].strip() == "→ do this"
            assert rows[-1].endswith("0 well")


@pytest.mark.parametrize(
    ("mode", "production", "open_"),
    [
        (0o710, True, False),  # nginx's group passes through
        (0o711, True, False),
        (0o750, True, False),
        (0o755, True, True),
        (0o770, True, True),
        (0o700, False, False),
        (0o710, False, True),
    ],
)
def test_who_may_look_into_the_state(
    settings: Settings, tmp_path: Path, mode: int, production: bool, open_: bool
) -> None:
    settings.STUDIO_VAR, settings.PRODUCTION = tmp_path, production
    tmp_path.chmod(mode)
    assert any(found.remedy.startswith("chmod") for found in run("settings")) is open_
