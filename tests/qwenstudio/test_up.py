"""`manage.py up` as a user runs it: real servers, real children, signals, a second start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from qwenstudio import processes
from qwenstudio.management.commands.up import Studio
from tests.qwenstudio.up import ROOT, Up

# Without the GPU worker: importing torch is for the browser's test, which drives everything.
LIGHT = ("web", "errands", "ticker")
CHATTING = (*LIGHT, "chat")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    made = Up(tmp_path, only=CHATTING)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.end()


@pytest.mark.timeout(600)
def test_one_life_of_the_studio(up: Up) -> None:
    """First start, second copy refused, crash of a child, kill -9, adoption, clean stop: in one go, for starts cost."""
    # First start: migrated, demo made, links printed, secrets in a private file.
    up.start()
    assert up.ask("/healthz")[0] == 200
    status, body = up.ask("/readyz")
    assert status == 200, body
    assert (up.var / "demo.env").stat().st_mode & 0o777 == 0o600
    known = up.accounts()
    assert {"STUDIO_URL", "STUDIO_EMAIL", "STUDIO_PASSWORD", "STUDIO_API_KEY", "STUDIO_ADMIN_PASSWORD"} <= set(known)
    assert known["STUDIO_PASSWORD"] not in up.text
    assert f"kill {up.process.pid if up.process else 0}" in up.text

    # The demo chat model comes after everybody else, and learns nothing of ours.
    assert "chat" not in up.text.partition("QwenStudio is ready")[0]
    up.wait_for(lambda: "chat" in up.children())
    given = psutil.Process(up.children()["chat"]).environ()
    assert not [name for name in given if name.startswith(("DATABASE_", "REDIS_", "SECRET_KEY", "STUDIO_", "DJANGO_"))]
    assert (given["OMP_NUM_THREADS"], given["HF_HOME"]) == ("1", str(up.var / "chat"))

    # A command typed beside it finds its servers and its port without being told.
    line = [sys.executable, "manage.py", "doctor", "--json"]
    beside = {name: value for name, value in up.environment.items() if name != "STUDIO_PORT"}
    examined = subprocess.run(line, cwd=ROOT, env=beside, capture_output=True, text=True)
    said = {finding["name"]: finding["text"] for finding in json.loads(examined.stdout)}
    levels = {finding["name"]: finding["level"] for finding in json.loads(examined.stdout)}
    assert f"http://127.0.0.1:{up.port}," in said["settings"], said
    assert str(up.port) in said["ports"], said
    assert levels["database, worker"] == levels["redis"] == levels["migrations"] == "ok", examined.stdout
    assert levels["queue of demo"] == "warn"  # nobody serves it: no worker was asked for
    assert examined.returncode == 0

    # A second start on the same state says so and stops.
    second = subprocess.run(up.line, cwd=ROOT, env=up.environment, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"process {up.process.pid if up.process else 0}, http://127.0.0.1:{up.port}" in second.stderr

    # A crash of one child restarts that child.
    before = up.children()
    os.kill(before["ticker"], signal.SIGKILL)
    up.wait_for(lambda: up.children().get("ticker") not in (None, before["ticker"]))
    assert up.children()["web"] == before["web"]

    # kill -9 of PostgreSQL (with all its processes) and of Valkey: well again soon, at the old addresses.
    before, addresses = up.children(), up.services()
    with psycopg.connect(addresses.urls["owner"], autocommit=True) as owner:
        owner.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postmaster, valkey = up.servers()
    backends = [process.pid for process in psutil.Process(postmaster).children(recursive=True)]
    for pid in (postmaster, valkey, *backends):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    up.wait_for(lambda: up.text.count("started again on port") == 2 and up.is_ready())
    assert not {postmaster, valkey} & set(up.servers())
    assert (up.services().urls, up.services().redis_url) == (addresses.urls, addresses.redis_url)
    with psycopg.connect(addresses.urls["owner"]) as owner:
        assert owner.execute("SELECT number FROM kept").fetchone() == (7,)
    assert up.children()["web"] == before["web"], "it has no reason to end"

    # By now the chat model has loaded, and serves nobody but this machine.
    up.wait_for(lambda: "the demo chat model is ready" in up.text)
    (server,) = psutil.Process(up.children()["chat"]).children()
    assert {one.laddr.ip for one in server.net_connections() if one.status == "LISTEN"} == {"127.0.0.1"}

    # kill -9: no child stays, the servers do, and the next start adopts them.
    children, servers = up.children() | {"model": server.pid}, up.servers()
    password = (up.var / "demo.env").read_text()
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    assert all(psutil.pid_exists(pid) for pid in servers)
    up.start()
    assert up.servers() == servers
    assert not [pid for pid in children.values() if psutil.pid_exists(pid)]
    assert (up.var / "demo.env").read_text() == password, "a later start keeps passwords and key"
    assert up.text.count("adopted our running server") == 2
    assert "preparing the database" not in up.text

    # SIGTERM: everything is gone, with exit code 0.
    children = up.children()
    assert up.end() == 0, up.text
    left = [pid for pid in (*children.values(), *servers) if psutil.pid_exists(pid)]
    assert left == []


@pytest.mark.timeout(120)
def test_a_taken_port_is_named_with_its_variable(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.port)):
        done = subprocess.run(up.line, cwd=ROOT, env=up.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"Port {up.port} is taken" in done.stderr
    assert f"STUDIO_PORT={up.port + 1}" in done.stderr
    assert not (up.var / "postgres").exists()


def test_the_studio_runs_without_a_chat_model_that_cannot(
    settings: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.STUDIO_CHAT_DEMO = True
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings.STUDIO_CHAT_PORT = taken.getsockname()[1]
        studio = Studio(names=["web", "chat"])
        studio.look_at_chat()
    assert studio.names == ["web"]
    assert f"not started (port {settings.STUDIO_CHAT_PORT} is taken" in capsys.readouterr().out

    studio = Studio(names=["web", "chat"])
    studio.look_at_chat()
    assert studio.names == ["web", "chat"]
    monkeypatch.setattr(processes, "CHAT_NEEDS", ("fastapi", "not_there"))
    studio.look_at_chat()
    assert studio.names == ["web"]
    assert "not started (not_there missing: pip install -r requirements.txt)" in capsys.readouterr().out

    settings.STUDIO_CHAT_DEMO = False
    assert Studio(names=["web", "chat"]).names == ["web"]


@pytest.mark.timeout(120)
def test_a_wrong_value_is_named_before_anything_starts(up: Up) -> None:
    done = subprocess.run(
        up.line, cwd=ROOT, env=up.environment | {"STUDIO_LANE": "red"}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "STUDIO_LANE must be one of blue, green" in done.stderr
    assert not up.var.exists()
