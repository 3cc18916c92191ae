"""Reading everything back: is each byte of the backups what it was?"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.folder import Folder
from qwenstudio.backup.lists import read_list
from qwenstudio.backup.manifest import check_part
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.store import Store


@dataclass
class Verified:
    """What was read, and what is wrong with it, one sentence each."""

    snapshots: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def verify(root: Path, *, progress: Progress) -> Verified:
    """Read back every snapshot and every file that one names. Raises `BackupError` where there is nothing to read.

    A damaged file loses its name (where the folder can be written), so that the next backup stores a good one if the
    studio still has it.
    """
    folder = Folder.find(root)
    mends = os.access(folder.root, os.W_OK)
    with folder.lock(alone=mends):
        try:
            return _verify(folder, mends=mends, progress=progress)
        finally:
            progress.end()


def _verify(folder: Folder, *, mends: bool, progress: Progress) -> Verified:
    found = Verified(snapshots=folder.names())
    if not found.snapshots:
        raise BackupError(f"there is no whole backup in {folder.root}")
    wanted: dict[str, tuple[int, str]] = {}
    for name in found.snapshots:
        progress.step(f"reading {name}")
        found.problems += _read_snapshot(folder, name, wanted)
    store = Store(folder.files)
    for number, (digest, (size, where)) in enumerate(wanted.items(), start=1):
        progress.count("files", done=number, total=len(wanted), size=found.bytes)
        if store.has(digest, size) and store.is_whole(digest):
            found.files += 1
            found.bytes += size
        elif not store.path(digest).exists():
            found.problems.append(f"{where} is not in {folder.files}")
        else:
            aside = mends and store.set_aside(digest)
            after = "; the next backup stores it anew if the studio still has it" if aside else ""
            found.problems.append(f"{where} is damaged ({store.path(digest)}){after}")
    return found


def _read_snapshot(folder: Folder, name: str, wanted: dict[str, tuple[int, str]]) -> list[str]:
    """Check a snapshot's own files and gather what it names; returns what is wrong."""
    problems = []
    try:
        manifest = folder.manifest(name)
    except BackupError as error:
        return [str(error)]
    parts = [manifest.database, *([manifest.catalog] if manifest.catalog else [])]
    for part in parts:
        try:
            check_part(folder.snapshots / name, part)
        except BackupError as error:
            problems.append(str(error))
    for part in (manifest.media.list, manifest.models.list):
        try:
            check_part(folder.snapshots / name, part)
            for entry in read_list(folder.snapshots / name / part.file):
                wanted.setdefault(entry.sha256, (entry.bytes, f"{name}: {entry.path}"))
        except BackupError as error:
            problems.append(str(error))
    return problems
