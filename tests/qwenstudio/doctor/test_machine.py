"""What the doctor says of this machine: cards, drivers, disks, memory, clock, backups."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from qwenstudio.backup.outcome import note_failure, note_success, note_verified
from qwenstudio.doctor import backups, gpu, room
from qwenstudio.doctor.finding import GIB
from qwenstudio.doctor.gpu import judge_driver
from tests.qwenstudio.backup.snapshots import make_snapshot
from tests.qwenstudio.doctor.looking import line, look, write_program


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands first in `PATH`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of an installation in a folder."""
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


# ---- cards and driver


CARD = "{number}, NVIDIA H100 80GB HBM3, 570.86, {degrees}, {used}, 81559, 12"


def test_cards_are_shown_and_hot_or_full_ones_named(programs: Path) -> None:
    rows = [
        CARD.format(number=0, degrees=85, used=60000),
        CARD.format(number=1, degrees=86, used=60000),
        CARD.format(number=2, degrees=40, used=81000),
        "3, Tesla K80, 470.82, [N/A], [N/A], [N/A], [N/A]",
    ]
    write_program(programs, "nvidia-smi", "\n".join(f"echo '{row}'" for row in rows))
    found = look("cards")
    assert [(card.name, card.level) for card in found] == [
        ("GPU 0", "ok"), ("GPU 1", "warn"), ("GPU 2", "warn"), ("GPU 3", "ok"),
    ]  # fmt: skip
    assert "85 °C" in found[0].text and "59 of 80 GiB" in found[0].text
    assert "fans" in found[1].remedy and "nvidia-smi names who holds it" in found[2].remedy


def test_driver_that_lost_its_card_is_a_failure(programs: Path) -> None:
    write_program(programs, "nvidia-smi", "echo 'Unable to determine the device handle'; exit 15")
    (found,) = look("cards")
    assert (found.level, "device handle" in found.text) == ("fail", True)


def test_driver_that_hangs_is_a_failure(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SMI_S", 0.2)
    write_program(programs, "nvidia-smi", "exec sleep 60")
    (found,) = look("cards")
    assert (found.level, found.text) == ("fail", "nvidia-smi: TimeoutExpired")


@pytest.mark.parametrize(
    ("kind", "wheel", "driver", "level", "word"),
    [
        ("cuda", "12.8", 12080, "ok", "built for 12.8"),
        ("cuda", "12.8", 12020, "ok", "knows CUDA 12.2"),  # minor versions are compatible
        ("cpu", "13.0", 12080, "fail", "built for CUDA 13.0, the driver knows 12.8"),
        ("cpu", "", 12080, "fail", "the build for CPUs"),
        ("cpu", "12.8", 12080, "fail", "sees no card"),
        ("cpu", "12.8", 0, "ok", "no GPU"),
        ("cpu", "", 0, "ok", "no GPU"),
    ],
)
def test_wheel_and_driver(kind: str, wheel: str, driver: int, level: str, word: str) -> None:
    (found,) = judge_driver({"kind": kind, "wheel": wheel, "driver": driver})
    assert (found.level, word in found.text) == (level, True), found
    assert bool(found.remedy) == (level == "fail")


# ---- room


def test_little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal:       10485760 kB\nMemAvailable:    1048575 kB\nHugePages_Total: 0\n")
    assert (line("memory", "memory").level, line("memory", "memory").text) == ("warn", "1.0 of 10.0 GiB may be had")
    (tmp_path / "meminfo").write_text("MemTotal:       10485760 kB\nMemAvailable:    1048577 kB\n")
    assert line("memory", "memory").level == "ok"
    (tmp_path / "meminfo").unlink()
    assert look("memory") == []


def test_disks_of_one_device_are_one_line(settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.STUDIO_MEDIA = root / "media"
    for folder in (root / "media", root / "var" / "backups" / "qwenstudio"):
        folder.mkdir(parents=True)
    names = [finding.name for finding in look("disks")]
    assert "media" in names[0] and "backups" in names[0]
    free, files = 100 * GIB, 1_000_000

    def disk(path: Any) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=1_000_000, f_favail=files)

    monkeypatch.setattr(room.os, "statvfs", disk)
    assert look("disks")[0].level == "ok"
    free = 9 * GIB
    assert look("disks")[0].level == "warn"
    free, files = 100 * GIB, 49_999
    assert "df -i" in look("disks")[0].remedy


# ---- backups


def test_age_of_the_newest_whole_backup(settings: Settings, root: Path, tmp_path: Path) -> None:
    """By the folder where this account may read it; by the note that backups leave everywhere else."""
    settings.STUDIO_VAR = tmp_path
    assert look("backups") == []
    settings.PRODUCTION = True
    assert "there is none" in line("backup", "backups").text
    backups = root / "var" / "backups" / "qwenstudio"
    make_snapshot(backups, hours=1, whole=False)
    assert line("backup", "backups").level == "fail"
    make_snapshot(backups, hours=80)
    assert line("backup", "backups").level == "fail"
    make_snapshot(backups, hours=30)
    found = line("backup", "backups")
    assert (found.level, "30 hours old" in found.text) == ("warn", True)
    note_success(tmp_path, make_snapshot(tmp_path / "elsewhere", hours=20))
    assert line("backup", "backups").level == "ok"


def test_a_backup_that_failed_is_damaged_or_that_nobody_reads(
    settings: Settings, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STUDIO_VAR = tmp_path
    note_success(tmp_path, make_snapshot(tmp_path / "b", hours=10))
    assert [found.level for found in look("backups")] == ["ok"], "the first weekly look is still to come"
    note_failure(tmp_path, "the disk is too small")
    found = line("backup, last try", "backups")
    assert (found.level, "the disk is too small" in found.text, bool(found.remedy)) == ("warn", True, True)
    assert line("backup", "backups").level == "ok", "the last good one is as old as before"
    note_verified(tmp_path, damage="1 things are damaged: files/ab/ab34")
    assert line("backup, read back", "backups").level == "fail"
    note_verified(tmp_path, damage="")
    note_success(tmp_path, make_snapshot(tmp_path / "b", hours=5))
    assert [found.level for found in look("backups")] == ["ok"]
    monkeypatch.setattr(backups, "UNREAD_DAYS", -1)
    assert (line("backup, read back", "backups").level) == "warn"
    (tmp_path / "backup.json").write_text('{"succeeded_at": "yesterday"}')
    assert look("backups") == [], "a note that cannot be read says nothing"


# ---- clock


@pytest.mark.parametrize(("said", "levels"), [("yes", ["ok"]), ("no", ["warn"]), ("", [])])
def test_clock(programs: Path, said: str, levels: list[str]) -> None:
    write_program(programs, "timedatectl", f"echo {said}")
    assert [finding.level for finding in look("clock")] == levels
