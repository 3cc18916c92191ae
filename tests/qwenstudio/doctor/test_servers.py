"""What the doctor says of PostgreSQL's connections and poolers, and how long it waits for who never answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from qwenstudio.doctor import CHECKS, database
from qwenstudio.doctor.database import most_connections, shares_sessions
from qwenstudio.doctor.examine import examine
from qwenstudio.door.database import CONNECTIONS
from qwenstudio.embedded import Services
from qwenstudio.settings import database_urls
from tests.qwenstudio.doctor.looking import line, look
from tests.qwenstudio.doctor.pooler import Pooler

ROOT = Path(__file__).resolve().parents[3]


# ---- connections


@pytest.mark.django_db
def test_connections_against_what_the_server_lets_in(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DB_POOL = 1
    found = line("connections", "connections")
    assert (found.level, "in use (max_connections)" in found.text) == ("ok", True), found
    settings.DB_POOL = 100
    found = line("connections", "connections")
    assert (found.level, "fewer than we may open" in found.text) == ("warn", True)
    assert f"max_connections = {most_connections(workers=0) + 23}" in found.remedy
    monkeypatch.setattr(database, "NEARLY_FULL", 0.0)
    assert line("connections", "connections").level == "fail"


def test_the_sum_of_all_pools_is_that_of_the_code(settings: Settings) -> None:
    assert database.DOOR == CONNECTIONS
    settings.DB_POOL = 3
    assert most_connections(workers=0) == 2 * (3 * 2 + 2 * 2 + 2 + 4) + 2  # somebody will start one in each lane
    settings.WEB_PROCESSES = 4
    assert most_connections(workers=0) == 2 * (3 * 5 + 2 * 2 + 2 + 4) + 2
    assert most_connections(workers=2) - most_connections(workers=1) == 2 * database.GPU_WORKER


# ---- poolers


@pytest.mark.django_db
@pytest.mark.parametrize(("mode", "shares"), [("transaction", True), ("session", False)])
def test_pooler_in_transaction_mode_is_found(
    services: Services, monkeypatch: pytest.MonkeyPatch, mode: str, shares: bool
) -> None:
    url = services.urls["web"]
    assert not shares_sessions(url)
    with Pooler(url, mode=mode) as pooler:
        assert shares_sessions(pooler.url) == shares
        monkeypatch.setitem(database_urls, "web", pooler.url)
        found = {finding.name: finding for finding in look("pooler")}
        assert ("pooler, web" in found) == shares
        assert found["pooler"].text.endswith("(owner, worker)" if shares else "(web, owner, worker)")


# ---- who never answers


@pytest.fixture
def hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


def test_doctor_ends_although_nobody_answers(hole: int, tmp_path: Path) -> None:
    foreign = ("DATABASE_", "REDIS_", "STUDIO_", "SECRET_KEY", "DJANGO_", "EMAIL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment = {
        "DATABASE_URL": f"postgresql://studio_web:x@127.0.0.1:{hole}/studio",
        "DATABASE_WORKER_URL": f"postgresql://studio_worker:x@127.0.0.1:{hole}/studio",
        "DATABASE_OWNER_URL": f"postgresql://studio_owner:x@127.0.0.1:{hole}/studio",
        "REDIS_URL": f"redis://:x@127.0.0.1:{hole}/0",
        "EMAIL_URL": f"smtp://127.0.0.1:{hole}",
        "STUDIO_PRODUCTION": "True",  # so that the guard asks them too
        "STUDIO_VAR": str(tmp_path),
    }
    line = [sys.executable, "manage.py", "doctor", "--json", "--mail"]
    done = subprocess.run(line, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 1, done.stderr
    found = {finding["name"]: finding["level"] for finding in json.loads(done.stdout)}
    assert {found[f"database, {role}"] for role in ("web", "owner", "worker")} == {"fail"}
    assert (found["migrations"], found["redis"], found["e-mail"]) == ("fail", "warn", "fail")
    assert "nobody could be told" in done.stderr, "it knows no staff yet"


def test_a_database_that_falls_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pooler("postgresql://studio_web:x@127.0.0.1:1/studio", silent=True) as silent:
        for role in database_urls:
            monkeypatch.setitem(database_urls, role, silent.url)
        checks = {
            name: replace(CHECKS[name], patience_s=1.0) for name in ("database", "connections", "pooler", "workers")
        }
        found = examine({**checks, "memory": CHECKS["memory"]})
    assert {finding.name for finding in found if finding.level == "fail"} == set(checks)
    assert "no end within 1 s" in found[0].text
    assert found[-1].name == "memory"
