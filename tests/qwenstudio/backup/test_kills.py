"""SIGKILL at each step of a backup and of a restore: what was good stays good, and the next run finishes the work."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qwenstudio.backup.folder import Folder
from qwenstudio.backup.make import Wanted, back_up
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.verify import verify
from qwenstudio.embedded import Services
from qwenstudio.management.commands.restore import known_migrations
from tests.factories import Person
from tests.qwenstudio.backup.house import AsWorker, all_rows, contents, paint, source_of, url_in

ROOT = Path(__file__).resolve().parents[3]
BACKUP = [
    ("counting rows", 0),
    ("dumping the database", 0),
    ("looking for files", 0),
    ("copying pictures", 0),
    ("copying pictures", 2),
    ("looking for models", 0),
    ("copying files of models", 0),
    ("writing the manifest", 0),
    ("closing the snapshot", 0),
    ("thinning old backups", 0),
]
RESTORE = [
    ("reading the backup back", 0),
    ("writing pictures", 0),
    ("writing pictures", 3),
    ("loading the database", 0),
    ("the rows are loaded", 0),
    ("counting rows", 0),
    ("migrating", 0),
    ("counting counters", 0),
    ("ending the restore", 0),
]


def run(what: str, root: Path, url: str, media: Path, step: str, count: int) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.qwenstudio.backup.killed", what, str(root), url, str(media), step, str(count)]
    migrations = " ".join(f"{app}.{name}" for app, name in known_migrations())
    return subprocess.run(line, cwd=ROOT, input=migrations, capture_output=True, text=True)


def test_a_killed_backup_leaves_the_old_ones_and_the_next_goes_on(
    house: Path, tmp_path: Path, services: Services, alice: Person, as_worker: AsWorker
) -> None:
    root, owner = tmp_path / "b", services.urls["owner"]
    source = source_of(services, house)
    good = back_up(root, source=source, wanted=Wanted(), progress=Progress())
    for number, (step, count) in enumerate(BACKUP):
        paint(alice, as_worker, data=b"round %d" % number, n=2)
        names = Folder.find(root).names()
        killed = run("backup", root, owner, house, step, count)
        assert killed.returncode == -signal.SIGKILL, (step, killed.stderr)
        after = Folder.find(root).names()
        assert after == (names if step != "thinning old backups" else [*names, after[-1]]), step
        assert verify(root, progress=Progress()).problems == [], step
        done = run("backup", root, owner, house, "-", 0)
        assert done.returncode == 0, (step, done.stderr)
        newest = Folder.find(root).manifest(Folder.find(root).names()[-1])
        assert newest.rows == all_rows(services.superuser_url)
        assert newest.media.files == len(contents(house)), step
        # Three files are new in each round: what the killed run had stored by then is not copied again.
        stored = {"copying pictures": count and count - 1}.get(step, 3 if BACKUP.index((step, count)) > 4 else 0)
        assert newest.media.copied == 3 - stored, step
        assert verify(root, progress=Progress()).problems == [], step
        snapshots = [path.name for path in (root / "snapshots").iterdir()]
        assert len(snapshots) == 2 and not [name for name in snapshots if "." in name], step
        assert not list(root.rglob("*.tmp")), step
    assert good.name not in Folder.find(root).names()


@pytest.mark.parametrize(("step", "count"), RESTORE)
def test_a_killed_restore_shows_nothing_half_and_the_next_goes_on(
    house: Path, tmp_path: Path, services: Services, empty: str, step: str, count: int
) -> None:
    root, media = tmp_path / "b", tmp_path / "m"
    manifest = back_up(root, source=source_of(services, house), wanted=Wanted(), progress=Progress())
    owner = url_in(services.urls["owner"], empty)
    killed = run("restore", root, owner, media, step, count)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = all_rows(url_in(services.superuser_url, empty))
    assert rows in ({}, manifest.rows), "all of the rows or none"
    assert (rows == {}) == (RESTORE.index((step, count)) < 4)
    whole = contents(house)
    written = {path: data for path, data in contents(media).items() if not path.endswith(".tmp")}
    assert all(whole[path] == data for path, data in written.items())
    if rows:
        assert written == whole, "the rows come last"
    done = run("restore", root, owner, media, "-", 0)
    assert done.returncode == 0, done.stderr
    assert all_rows(url_in(services.superuser_url, empty)) == manifest.rows
    assert {path: data for path, data in contents(media).items() if not path.endswith(".tmp")} == whole


def test_the_tables_name_every_step(house: Path, tmp_path: Path, services: Services, empty: str) -> None:
    root = tmp_path / "b"
    for what, url, media, table in (
        ("backup", services.urls["owner"], house, BACKUP),
        ("restore", url_in(services.urls["owner"], empty), tmp_path / "m", RESTORE),
    ):
        done = run(what, root, url, media, "-", 0)
        assert done.returncode == 0, done.stderr
        steps = done.stdout.splitlines()
        assert all(any(step.startswith(known) for known, _ in table) for step in steps), steps
        assert all(any(step.startswith(known) for step in steps) for known, _ in table), steps
