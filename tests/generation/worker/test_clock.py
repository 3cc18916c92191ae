"""Deadlines by phase."""

from __future__ import annotations

import threading
import time

import pytest

from generation.worker.clock import Deadlines, PhaseClock, Watchdog


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at

    def pass_by(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def clock(now: Time) -> PhaseClock:
    return PhaseClock(now=now)


def measure(clock: PhaseClock, now: Time, *, seconds: float, key: object = ("demo", 64)) -> None:
    """One phase from beginning to end, and the next one begun."""
    clock.enter("pass", "step", key)
    now.pass_by(seconds)
    clock.enter("pass", "step", key)


def test_first_pass_has_a_quarter_of_an_hour(clock: PhaseClock, now: Time) -> None:
    clock.enter("pass", "step", ("demo", 64))
    now.pass_by(899)
    assert clock.find_overdue() is None
    now.pass_by(2)
    assert clock.find_overdue() == "pass: step has not ended after 901 s, 900 s allowed"


def test_quick_phase_has_thirty_seconds(clock: PhaseClock, now: Time) -> None:
    measure(clock, now, seconds=0.05)
    now.pass_by(29)
    assert clock.find_overdue() is None
    now.pass_by(2)
    assert clock.find_overdue() == "pass: step has not ended after 31 s, 30 s allowed"


def test_slow_phase_has_ten_times_its_own(clock: PhaseClock, now: Time) -> None:
    measure(clock, now, seconds=8)
    now.pass_by(79)
    assert clock.find_overdue() is None
    now.pass_by(2)
    assert clock.find_overdue() is not None


def test_one_quick_phase_does_not_tighten_the_deadline(clock: PhaseClock, now: Time) -> None:
    measure(clock, now, seconds=8)
    now.pass_by(0.1)
    clock.enter("pass", "step", ("demo", 64))
    now.pass_by(70)
    assert clock.find_overdue() is None


def test_another_size_is_measured_anew(clock: PhaseClock, now: Time) -> None:
    measure(clock, now, seconds=0.05)
    clock.enter("pass", "step", ("demo", 2048))
    now.pass_by(600)
    assert clock.find_overdue() is None


def test_what_says_its_own_allowance_gets_it(clock: PhaseClock, now: Time) -> None:
    measure(clock, now, seconds=0.05)
    clock.enter("pass", "finish", None, allow_s=150)
    now.pass_by(149)
    assert clock.find_overdue() is None
    now.pass_by(2)
    assert clock.find_overdue() == "pass: finish has not ended after 151 s, 150 s allowed"


def test_nothing_is_overdue_after_leaving(clock: PhaseClock, now: Time) -> None:
    clock.enter("pass", "step", 1)
    clock.leave("pass")
    now.pass_by(5000)
    assert clock.find_overdue() is None


def test_tracks_do_not_hide_each_other(clock: PhaseClock, now: Time) -> None:
    clock.enter("tail", "decode", 1)
    for _ in range(10):
        now.pass_by(100)
        clock.enter("pass", "step", 1)
    assert "tail: decode" in str(clock.find_overdue())


def test_watchdog_calls_once_with_the_reason() -> None:
    clock = PhaseClock(Deadlines(first_s=0.05))
    called: list[str] = []
    rang = threading.Event()

    def expired(reason: str) -> None:
        called.append(reason)
        rang.set()

    watchdog = Watchdog(clock, expired=expired, every_s=0.01)
    watchdog.start()
    clock.enter("pass", "encode", 1)
    assert rang.wait(60)
    time.sleep(0.05)
    watchdog.stop()
    assert len(called) == 1
    assert "encode has not ended" in called[0]


@pytest.mark.parametrize(
    ("waits", "told"),
    [([1.0, 60.0], 0), ([1.0, 60.0, 1.0], 1), ([60.0, 60.0], 1), ([1.0] * 40, 1)],
    ids=["just awake", "awake and still stuck", "always late", "never frozen"],
)
def test_a_frozen_process_is_not_taken_for_a_stuck_one(
    clock: PhaseClock, now: Time, waits: list[float], told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes up long past its deadline, and has had no chance to move on."""
    called: list[str] = []
    watchdog = Watchdog(clock, expired=called.append, now=now)

    def wait(_: float) -> bool:
        if not waits or called:
            return True
        now.pass_by(waits.pop(0))
        return False

    monkeypatch.setattr(watchdog._ended, "wait", wait)
    clock.enter("leases", "renewal", None, allow_s=5)
    watchdog._watch()
    assert len(called) == told
