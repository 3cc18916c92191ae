"""The processes of one machine put their numbers together; what a dead one counted stays, what it showed goes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from accounts.meters import EVENT_STREAMS, POOL_CONNECTIONS, REFUSALS, count_refusal, show_pool
from accounts.meters import share as sharing
from accounts.meters.share import Share, read_together
from qwenstudio.embedded import Services

ROOT = Path(__file__).resolve().parents[2]
CODE = "rate_limited"
COUNT = f'studio_refusals_total{{code="{CODE}",lane="blue"}}'
USE = ("used", "free")
OPEN = 'studio_event_streams{lane="blue"}'
# Says `ready`, counts as many refusals as each line says, and shows as many open streams.
CHILD = """
import sys, django
django.setup()
from accounts.meters import EVENT_STREAMS, count_refusal
from accounts.meters.share import share, write_now
share(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)): count_refusal("rate_limited")
    EVENT_STREAMS.labels("blue").set(int(line))
    write_now()
    print("done", flush=True)
"""


class Child:
    """A process that counts."""

    def __init__(self, kind: str, var: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, kind],
            cwd=ROOT,
            env={**os.environ, "STUDIO_VAR": str(var), "STUDIO_LANE": "blue", "STUDIO_PROCESS": "web"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._hear() == "ready"

    def count(self, number: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        assert self._hear() == "done"

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


@pytest.fixture
def var(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this test's processes share alone; this process has no slot in it."""
    settings.STUDIO_VAR = tmp_path
    monkeypatch.setattr(sharing, "_share", None)
    REFUSALS.clear()
    EVENT_STREAMS.clear()
    return tmp_path


@pytest.fixture
def start(var: Path) -> Iterator[Callable[[str], Child]]:
    """Children that end with the test."""
    children: list[Child] = []

    def make(kind: str) -> Child:
        children.append(Child(kind, var))
        return children[-1]

    yield make
    for child in children:
        if child.process.poll() is None:
            child.end()


def counted() -> float:
    return read_together()[0]["studio_refusals_total"].values.get(COUNT, 0.0)


def streams() -> float | None:
    return read_together()[0]["studio_event_streams"].values.get(OPEN)


def test_counts_of_processes_add_up(start: Callable[[str], Child]) -> None:
    web, stream = start("web"), start("stream")
    web.count(3)
    stream.count(4)
    count_refusal(CODE)  # and of this one
    assert counted() == 8
    assert streams() == 7
    assert read_together()[1] == {"stream": 1, "web": 1}


def test_two_of_a_kind_have_a_slot_each(start: Callable[[str], Child], var: Path) -> None:
    first, second = start("worker"), start("worker")
    first.count(1)
    second.count(2)
    assert counted() == 3
    assert sorted(path.name for path in (var / "metrics" / "blue").glob("*.prom")) == ["worker-0.prom", "worker-1.prom"]
    assert read_together()[1] == {"worker": 2}


def test_gauges_of_a_killed_process_vanish_and_its_counts_stay(start: Callable[[str], Child]) -> None:
    killed, other = start("web"), start("stream")
    killed.count(5)
    other.count(1)
    killed.end(signal.SIGKILL)
    assert streams() == 1
    assert counted() == 6
    assert read_together()[1] == {"stream": 1, "web": 0}


def test_the_next_process_goes_on_from_the_last(start: Callable[[str], Child], var: Path) -> None:
    for number in (2, 3):
        child = start("web")
        child.count(number)
        child.end()
    assert counted() == 5, "sums never fall"
    assert streams() is None
    assert len(list((var / "metrics" / "blue").glob("*.prom"))) == 1, "files do not grow with every restart"
    child = start("web")
    assert counted() == 5
    assert streams() in (None, 0), "the new process has not opened the dead one's streams"


def test_frozen_process_counts_as_living(start: Callable[[str], Child]) -> None:
    child = start("web")
    child.count(2)
    child.process.send_signal(signal.SIGSTOP)
    try:
        assert streams() == 2
        assert start("web").process.poll() is None
        assert read_together()[1] == {"web": 2}
    finally:
        child.process.send_signal(signal.SIGCONT)


def test_ends_with_its_last_counts_written(var: Path) -> None:
    share = Share("ticker")
    share.start()
    count_refusal(CODE)
    share.stop()
    REFUSALS.clear()
    assert counted() == 1
    assert read_together()[1] == {"ticker": 0}


def test_what_is_shown_was_written_before(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed right after a look must not leave less than was seen: that would look like a restart."""
    share = Share("web")
    share.start()
    monkeypatch.setattr(sharing, "_share", share)
    count_refusal(CODE)
    assert counted() == 1
    REFUSALS.clear()
    monkeypatch.setattr(sharing, "_share", None)  # as another process sees it
    assert counted() == 1
    share.stop()


def test_numbers_of_another_form_are_not_ours(start: Callable[[str], Child], var: Path) -> None:
    child = start("web")
    child.count(2)
    child.end()
    file = var / "metrics" / "blue" / "web-0.prom"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"# form ", b"# form x"))
    assert counted() == 0
    file.write_bytes(whole)
    assert counted() == 2


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"# form FORM\n", b"# form FORM\nx{ y\n# EOF\n", b"# form FORM\n# TYPE\n# EOF\n"]
)
def test_half_a_file_is_passed_over(content: bytes, start: Callable[[str], Child], var: Path) -> None:
    child = start("web")
    child.count(2)
    child.end()
    content = content.replace(b"FORM", sharing.form_of_series().encode())
    (var / "metrics" / "blue" / "web-0.prom").write_bytes(content)
    assert counted() == 0
    count_refusal(CODE)
    assert counted() == 1
    share = Share("web")  # the next process of the slot begins anew
    share.start()
    share.stop()


def test_full_disk_costs_nothing_but_freshness(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = Share("web")
    share.start()
    count_refusal(CODE)
    share.write()
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        count_refusal(CODE)
        share.write()  # does not raise
    share.write()
    share.stop()
    REFUSALS.clear()
    assert counted() == 2


def test_no_folder_stops_no_process(var: Path, caplog: pytest.LogCaptureFixture) -> None:
    (var / "metrics").write_text("a file stands in the way")
    sharing.share("web")
    assert "metrics are not shared" in caplog.text
    count_refusal(CODE)
    assert counted() == 1


def test_a_pool_says_what_it_holds(var: Path, services: Services) -> None:
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(services.urls["web"], min_size=2, max_size=3, open=False)
    show_pool("pages", lambda: pool, most=3)

    def held() -> list[float]:
        values = read_together()[0]["studio_database_pool_connections"].values
        return [
            values[f'studio_database_pool_connections{{lane="blue",pool="pages",state="{state}"}}'] for state in USE
        ]

    try:
        assert held() == [0, 0], "not opened yet"
        pool.open(wait=True)
        assert held() == [0, 2]
        with pool.connection():
            assert held() == [1, 1]
    finally:
        pool.close()
        POOL_CONNECTIONS.clear()
    assert read_together()[0]["studio_database_pool_connections"].values == {}


def test_lanes_are_apart(start: Callable[[str], Child], settings: Settings) -> None:
    child = start("web")
    child.count(1)
    settings.STUDIO_LANE = "green"
    assert counted() == 0
