"""The backup folder:

    qwenstudio-backup.json          says that this is one, and in which format
    lock                            held by whoever works here
    files/ab/ab34…                  each file under its SHA-256, shared by all snapshots
    snapshots/20261126T040200Z/     one backup: database.dump, media.jsonl, models.jsonl, models.toml, manifest.json
    snapshots/….partial/            one that was cut off; the next run removes it and uses what it has stored
    keys/20261126T040200Z.json      only where they were asked for (`--with-keys`)

The manifest is written last and the folder gets its name after that: what has no `.partial` is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from qwenstudio.backup.disk import make_folder, sync_folder, write_object
from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.manifest import MANIFEST, Manifest, read_manifest

FORMAT = 1
MARKER = "qwenstudio-backup.json"
LOCK = "lock"
PARTIAL = ".partial"
GOING = ".going"
NAME = "%Y%m%dT%H%M%SZ"


class Folder:
    """One backup folder. `create` and `find` make it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / "files"
        self.snapshots = root / "snapshots"
        self.keys = root / "keys"

    @classmethod
    def create(cls, root: Path) -> Folder:
        """The folder, made where it is not there; raises `BackupError` where something else lies in it."""
        root = root.absolute()
        if root.exists() and not (root / MARKER).exists() and _holds_something(root):
            raise BackupError(f"{root} holds something that is no backup of QwenStudio: give backups their own folder")
        try:
            make_folder(root)
            found = cls(root)
            if not (root / MARKER).exists():
                write_object(root / MARKER, {"format": FORMAT})
            found._check_format()
            for part in (found.files, found.snapshots):
                make_folder(part)
                part.chmod(0o700)
        except OSError as error:
            raise BackupError(f"{root} cannot be written: {error.strerror}") from error
        return found

    @classmethod
    def find(cls, root: Path) -> Folder:
        """One that is there; raises `BackupError`."""
        root = root.absolute()
        if not (root / MARKER).is_file():
            raise BackupError(f"{root} is no backup folder of QwenStudio: it has no {MARKER}")
        found = cls(root)
        found._check_format()
        return found

    def _check_format(self) -> None:
        try:
            known = json.loads((self.root / MARKER).read_text(encoding="utf-8"))["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            raise BackupError(f"{self.root / MARKER} is damaged: it should be {{'format': {FORMAT}}}") from None
        if not known:
            raise BackupError(f"{self.root} was written by another release, in a format that this one does not know")

    @contextmanager
    def lock(self, *, alone: bool) -> Iterator[None]:
        """Hold the folder, `alone` to write, with others to read. The kernel lets go when a holder dies."""
        try:
            handle = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if alone:
                raise BackupError(f"{self.root} cannot be written: {error.strerror}") from error
            yield  # a copy on a medium that cannot be written: nobody writes there
            return
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(handle, 40).decode(errors="replace").strip()
            os.close(handle)
            raise BackupError(
                f"somebody else works on {self.root} (process {pid or 'unknown'}): wait until it has finished"
            ) from None
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.ftruncate(handle, 0)
            os.close(handle)

    def names(self) -> list[str]:
        """The whole snapshots, oldest first."""
        if not self.snapshots.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self.snapshots.iterdir()
            if not entry.name.endswith((PARTIAL, GOING)) and (entry / MANIFEST).is_file()
        )

    def manifest(self, name: str) -> Manifest:
        """A snapshot's; raises `BackupError` where it is damaged."""
        return read_manifest(self.snapshots / name / MANIFEST)

    def begin(self, now: datetime | None = None) -> Path:
        """A fresh folder for a snapshot; what was cut off before it goes. Only with the lock."""
        for left in self.snapshots.iterdir():
            if left.name.endswith((PARTIAL, GOING)):
                shutil.rmtree(left)
        name = base = (now or datetime.now(UTC)).strftime(NAME)
        number = 1
        while (self.snapshots / name).exists():
            number += 1
            name = f"{base}-{number}"
        return make_folder(self.snapshots / f"{name}{PARTIAL}")

    def finish(self, partial: Path) -> str:
        """Give a snapshot that has its manifest its name."""
        name = partial.name.removesuffix(PARTIAL)
        sync_folder(partial)
        partial.rename(self.snapshots / name)
        sync_folder(self.snapshots)
        return name

    def remove(self, name: str) -> None:
        """Take a snapshot away; its files stay until they are collected."""
        going = self.snapshots / f"{name}{GOING}"
        (self.snapshots / name).rename(going)
        sync_folder(self.snapshots)
        shutil.rmtree(going)


def newest_snapshot(root: Path) -> Manifest | None:
    """The newest whole snapshot of a folder, for whoever wants to know how old the last backup is; None without one."""
    try:
        folder = Folder.find(root)
        names = folder.names()
        return folder.manifest(names[-1]) if names else None
    except (BackupError, OSError):  # it may be for another account alone
        return None


def _holds_something(root: Path) -> bool:
    # A file system of its own has this folder from the beginning.
    return any(entry.name != "lost+found" for entry in root.iterdir())
