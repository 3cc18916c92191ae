"""Files that take long are begun first, so that no process is left alone with one of them at the end.

With `--no-loadscope-reorder` pytest-xdist hands out files as they were collected. By itself it would begin with those
that have the most tests, and those that take the longest have few: a whole studio's life is one test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONG = (
    "tests/matrix/test_rights.py",
    "tests/e2e/test_every_page.py",
    "tests/deploy/test_switches.py",
    "tests/matrix/test_ids.py",
    "tests/deploy/test_rotation.py",
    "tests/deploy/test_from_units.py",
    "tests/generation/releases/test_release_processes.py",
    "tests/generation/worker/test_process.py",
    "tests/qwenstudio/backup/test_restore.py",
    "tests/qwenstudio/backup/test_kills.py",
    "tests/generation/domain/test_walk_planted.py",
    "tests/deploy/test_install.py",
    "tests/clients/test_openai_clients.py",
    "tests/qwenstudio/test_together.py",
    "tests/qwenstudio/test_up.py",
    "tests/generation/releases/test_compare.py",
    "tests/e2e/test_now.py",
    "tests/test_benchmarks.py",
)
"""Three quarters of a minute of a process and more, the longest first; roughly is enough."""


def begin_with_long_files(items: list[pytest.Item]) -> None:
    """Sort tests: those of `LONG` in its order, then all others as they were found."""
    place = {ROOT / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))
