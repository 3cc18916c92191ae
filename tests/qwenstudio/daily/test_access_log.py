"""`manage.py daily` reads any log, however large or broken, with one line and a bounded table in memory."""

from __future__ import annotations

import io
import itertools
import json
import logging
import pickle
import tracemalloc
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from qwenstudio.daily import accesslog
from qwenstudio.daily.accesslog import LONGEST_LINE, MOST_ROUTES, OTHERS, Log, Route, read_lines, read_log, route_of
from tests.factories import Person
from tests.generation.api.calls import submit

DAY = date(2024, 5, 14)
KEY = "0190a3b4-5c6d-7e8f-9012-3456789abcde"


def access(path: str, **fields: Any) -> bytes:
    """One line as the studio writes it."""
    line = {
        "time": "2024-05-14T12:00:00.000+00:00", "level": "info", "logger": "qwenstudio.access", "message": "GET",
        "method": "GET", "path": path, "status": 200, "ms": 10.0, "bytes": 2, **fields,
    }  # fmt: skip
    return json.dumps(line).encode() + b"\n"


def read(*lines: bytes) -> Log:
    return read_log(io.BytesIO(b"".join(lines)), day=DAY)


def test_requests_of_the_day_are_counted() -> None:
    found = read(
        access("/studio/"),
        access("/studio/", time="2024-05-15T00:00:00.000+00:00"),
        access("/studio/", time="2024-05-13T23:59:59.999+00:00"),
        access("/api/v1/images", method="POST", status=429, code="quota_exceeded", key=KEY),
        access("/api/v1/images", method="POST", status=429, code="quota_exceeded", key=KEY),
        access("/sign-in/", method="POST", status=400),
        access("/studio/", status=500),
        access("/x", logger="other"),
    )
    assert (found.requests, dict(found.statuses)) == (5, {"2xx": 1, "4xx": 3, "5xx": 1})
    assert dict(found.refused) == {("quota_exceeded", KEY): 2, ("400", ""): 1}


def test_a_submit_that_waits_counts_once_and_streams_are_not_timed() -> None:
    found = read(
        access("/api/v1/images", method="POST", status=202, ms=30.0),
        access("/api/v1/images", method="POST", status=200, ms=9000.0, door=True),
        access("/api/v1/events", ms=500_000.0, door=True),
        access(f"/api/v1/images/{KEY}/events", ms=500_000.0, door=True),
    )
    assert found.requests == 3
    assert [row["route"] for row in found.slowest(5)] == ["POST /api/v1/images"]
    assert found.slowest(5)[0]["slowest_ms"] == 30.0


def test_slowest_routes_come_first() -> None:
    lines = [access(f"/files/{KEY}/thumbnail", ms=float(ms)) for ms in range(1, 101)]
    found = read(*lines, access("/usage/", ms=400.0), access("/usage/", ms=300.0, status=500))
    assert found.slowest(5) == [
        {"route": "GET /usage/", "count": 2, "errors": 1, "p95_ms": 400.0, "slowest_ms": 400.0},
        {"route": "GET /files/{id}/thumbnail", "count": 100, "errors": 0, "p95_ms": pytest.approx(95, rel=0.1),
         "slowest_ms": 100.0},
    ]  # fmt: skip
    assert len(found.slowest(1)) == 1


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (f"/api/v1/images/{KEY}", "/api/v1/images/{id}"),
        (f"/files/{KEY.upper()}.png", "/files/{id}.png"),
        ("/admin/accounts/plan/17/change/", "/admin/accounts/plan/{id}/change/"),
        ("/join/Kd93kLs0_skd83-KsldKd93kLs0skd83/", "/join/{name}/"),
        ("/api/v1/usage", "/api/v1/usage"),
        ("/", "/"),
    ],
)
def test_routes_have_no_ids(path: str, route: str) -> None:
    assert route_of(path) == route


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"\xff\xfe\n", b'{"logger": "qwenstudio.access"\n', b'"qwenstudio.access"\n', b"[]\n",
        access("/", status="no"), access("/", ms=None), access("/", status=404, key="no id"), b'{"a": ' * 9999 + b"\n",
        b'"qwenstudio.access"' + b"x" * LONGEST_LINE * 3 + b"\n",
    ],
)  # fmt: skip
def test_what_is_no_line_of_ours_is_passed_over(line: bytes) -> None:
    found = read(line, access("/studio/"), line, access("/studio/").rstrip())
    assert found.requests == 2
    assert found.refused == {}


def test_lines_are_whole_or_left_out() -> None:
    long = b"x" * LONGEST_LINE
    assert list(read_lines(io.BytesIO(b"a\n" + long + b"\nb\n" + long[:-1] + b"\nc" + long))) == [
        b"a\n", b"b\n", long[:-1] + b"\n",
    ]  # fmt: skip


def test_percentiles_are_ten_percent_exact() -> None:
    route = Route()
    assert route.percentile(0.5) == 0.0
    for ms in (0.0, *range(1, 1000)):
        route.add(float(ms), 200)
    assert route.percentile(0.5) == pytest.approx(500, rel=0.1)
    assert route.percentile(0.95) == pytest.approx(950, rel=0.1)
    assert route.percentile(1.0) == 999.0


class Endless(io.RawIOBase):
    """A log of so many lines, made while it is read; every path is another one."""

    def __init__(self, lines: int) -> None:
        self._lines: Iterator[bytes] = (
            access(f"/p{number:x}g", method=f"M{number}", status=403, code=f"c{number}") for number in range(lines)
        )
        self._rest = b""
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(self._rest) < len(buffer) and (more := b"".join(itertools.islice(self._lines, 50))):
            self._rest += more
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        self.size += len(piece)
        return len(piece)


def test_memory_is_bounded_whatever_the_log_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "MOST_PAIRS", 100)
    read_log(io.BufferedReader(Endless(10)), day=DAY)  # what is made once
    sizes = []
    for lines in (5_000, 40_000):
        source = Endless(lines)
        tracemalloc.start()
        found = read_log(io.BufferedReader(source), day=DAY)
        peak = tracemalloc.get_traced_memory()[1]  # of all threads of this process
        tracemalloc.stop()
        assert found.requests == lines
        assert len(found.routes) == MOST_ROUTES + 1 and found.routes[OTHERS].count == lines - MOST_ROUTES
        assert sum(found.refused.values()) == lines and len(found.refused) == 101
        sizes.append(len(pickle.dumps(found)))
    assert peak < source.size / 2, "the log was read as a whole"
    assert sizes[1] < 1.1 * sizes[0], f"{sizes}: something stays of every line"


# ---- the lines that our own doors write


@pytest.mark.django_db
def test_access_lines_name_the_key_and_the_code(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="qwenstudio.access"):
        assert submit(alice, model="none such").status_code == 400
        alice.api.get("/api/v1/models")
        alice.client.get("/usage/")
        alice.api.get("/api/v1/me", headers={"Authorization": "Bearer qs_live_wrong"})
    lines = [record for record in caplog.records if record.name == "qwenstudio.access"]
    assert [getattr(line, "key", None) for line in lines] == [str(alice.key.pk), str(alice.key.pk), None, None]
    assert [getattr(line, "code", None) for line in lines] == ["model_not_found", None, None, "invalid_api_key"]
