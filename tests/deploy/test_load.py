"""The load clients: what they count as what, and that each failure says why."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "load"
GENERATION = {"id": "0190a000-0000-7000-8000-000000000001", "status": "queued", "images": [], "error": None}
FAILED = {**GENERATION, "status": "failed", "error": {"code": "black_frame", "message": "black"}}


def load(name: str) -> ModuleType:
    """A module of the folder, which is no package: users copy it. (`locustfile` itself would patch this process.)"""
    spec = importlib.util.spec_from_file_location(f"load_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tally, pace = load("tally"), load("pace")


# ---- counting


def test_percentiles_are_of_what_was_measured() -> None:
    found = tally.figures(float(number) for number in range(1, 101))
    assert found == {"count": 100, "p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "max_ms": 100.0}
    assert tally.figures([7.0])["p99_ms"] == 7.0 and tally.figures([]) == {"count": 0}


def test_times_begin_when_all_clients_are_there_and_end_with_the_time() -> None:
    run = tally.Tally()
    run.note("page", "GET /", 900.0)
    run.arrive()
    run.expect(2)
    assert run.summary()["all_came"] is False
    run.note("page", "GET /", 800.0)
    run.arrive()
    run.note("page", "GET /", 10.0)
    run.stop_measuring()
    run.note("page", "GET /", 700.0)
    found = run.summary()
    assert found["all_came"] is True and found["requests"] == 4
    assert found["groups"]["page"]["count"] == 1 and found["groups"]["page"]["max_ms"] == 10.0


def test_refusals_are_no_failures_and_failures_are_no_times() -> None:
    run = tally.Tally()
    run.expect(0)
    run.note(tally.REFUSED, "POST /api/v1/images: queue_full", 5.0)
    run.note("api", "POST /api/v1/images", 3000.0, failure="503 unavailable")
    found = run.summary()
    assert (found["requests"], found["failed"], found["refused"], found["error_share"]) == (2, 1, 1, 0.5)
    assert found["failures"] == {"api POST /api/v1/images: 503 unavailable": 1}
    assert found["refusals"] == {"POST /api/v1/images: queue_full": 1}
    assert found["groups"] == {}
    text = "\n".join(tally.lines_of(found))
    assert "503 unavailable" in text and "queue_full" in text


def test_a_picture_ends_once() -> None:
    run = tally.Tally()
    run.accept("a", at=0.0)
    assert run.end("a", "succeeded") > 0
    assert run.end("a", "succeeded") is None and run.end("not ours", "failed") is None
    assert run.summary()["pictures"] == {"accepted": 1, "succeeded": 1}


def test_the_same_reason_is_counted_once() -> None:
    one = tally.tidy(
        "no answer: ConnectionRefusedError 127.0.0.1:41234 at 0x7f12ab, 0190a000-0000-7000-8000-000000000001"
    )
    assert one == "no answer: ConnectionRefusedError 127.0.0.1:… at …, …"


def test_shares() -> None:
    assert pace.read_shares("draw=9, gallery=0") == {**pace.SHARES, "draw": 9.0, "gallery": 0.0}
    for text in ("paint=1", "draw=much", "draw=-1", "draw=nan"):
        with pytest.raises(ArgumentTypeError):
            pace.read_shares(text)
    picked = Counter(pace.pick({"a": 0, "b": 1}, ("a", "b")) for _ in range(50))
    assert picked == {"b": 50}


def test_accounts_are_dealt_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "accounts").write_text("ann@example.com a pass word\nqs_live_one\n\nben@example.com x\n")
    monkeypatch.setenv("STUDIO_ACCOUNTS", str(tmp_path / "accounts"))
    monkeypatch.setenv("STUDIO_API_KEY", "qs_live_two")
    found = pace.Accounts()
    assert [found.key() for _ in range(3)] == ["qs_live_two", "qs_live_one", "qs_live_two"]
    assert found.person() == pace.Account("ann@example.com", "a pass word")
    assert found.person().email == "ben@example.com"


# ---- a studio that does everything wrong


class Wrong(BaseHTTPRequestHandler):
    """Refuses, breaks, lies: by path."""

    protocol_version = "HTTP/1.1"
    seen: Counter[str] = Counter()

    def do_GET(self) -> None:
        answers: dict[str, Any] = {
            "/api/v1/models": (200, {"results": [{"id": "demo"}]}),
            "/api/v1/me": (500, {"code": "internal"}),
            f"/api/v1/images/{GENERATION['id']}": (200, FAILED),
            "/api/v1/images?limit=20": (429, {"code": "rate_limited"}),
        }
        self._answer(*answers[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "Prefer" in self.headers:
            self._answer(503, {"code": "unavailable"})
        else:
            self._answer(202, GENERATION)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self.seen["wait" if "Prefer" in self.headers else f"{self.command} {self.path}"] += 1
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/json")
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def wrong() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def start_locust(host: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "locust", "-f", str(FOLDER / "locustfile.py"), "--host", host, "--headless", *words]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip


def run_locust(host: str, *words: str, **environment: str) -> tuple[int, str]:
    process = start_locust(host, *words, **environment)
    said, _ = process.communicate(timeout=150)
    return process.returncode, said


def test_each_failure_has_a_reason(wrong: str, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    words = ("--users", "6", "--spawn-rate", "10", "--think", "0.1", "--record", str(record))
    Wrong.seen.clear()
    process = start_locust(wrong, *words, STUDIO_API_KEY="qs_live_x")
    until = time.monotonic() + 150
    kinds = 6  # the models, who it is, the list, one that waits, one that does not, how that goes
    came = "GET /api/v1/models"  # each client's first
    while time.monotonic() < until and not (
        len(Wrong.seen) == kinds and min(Wrong.seen.values()) >= 3 and Wrong.seen[came] >= 6
    ):
        time.sleep(0.05)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    found = json.loads(record.read_text())
    assert found["clients"] == 6 and found["kinds"] == ["Program"]
    assert set(found["failures"]) == {
        "api GET /api/v1/me: 500 internal",
        "held POST /api/v1/images (Prefer: wait): 503 unavailable",
        "wait a picture, by polling: black_frame",
    }
    assert set(found["refusals"]) == {"GET /api/v1/images?limit=20: rate_limited"}
    assert found["pictures"] == {"accepted": 1, "failed": 1}, "one id, however often it was given out"
    assert "500 internal" in said and "rate_limited" in said


def test_who_comes_without_an_account_is_told(wrong: str) -> None:
    code, said = run_locust(wrong, "--users", "1", "--run-time", "1s")
    assert code != 0 and "STUDIO_API_KEY" in said


def test_a_host_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    words = ("--users", "1", "--run-time", "5s", "--think", "0.1", "--record", str(record))
    code, said = run_locust("http://127.0.0.1:9", *words, STUDIO_API_KEY="qs_live_x")
    assert code == 1, said
    assert all("no answer: ConnectionRefusedError" in reason for reason in json.loads(record.read_text())["failures"])
