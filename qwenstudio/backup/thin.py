"""Old snapshots go, and then the files that no snapshot names any more."""

from __future__ import annotations

from dataclasses import dataclass

from qwenstudio.backup.folder import Folder
from qwenstudio.backup.lists import read_list
from qwenstudio.backup.manifest import check_part
from qwenstudio.backup.store import Store


@dataclass(frozen=True)
class Thinned:
    """What went."""

    snapshots: tuple[str, ...]
    files: int
    bytes: int


def thin(folder: Folder, *, keep: int) -> Thinned:
    """Keep the newest `keep` snapshots. Raises `BackupError` where one that stays cannot be read: then no file goes.

    Under the folder's lock. Cut off at any point it leaves files too many, never too few.
    """
    names = folder.names()
    gone = names[: -max(1, keep)]
    for name in gone:
        folder.remove(name)
    wanted: set[bytes] = set()
    for entry in folder.snapshots.iterdir():
        manifest = folder.manifest(entry.name)  # one that has lost its manifest names files all the same: no files go
        for part in (manifest.media.list, manifest.models.list):
            check_part(entry, part)  # a changed digit would let a file go that is needed
            wanted.update(bytes.fromhex(listed.sha256) for listed in read_list(entry / part.file))
    files, size = Store(folder.files).collect(wanted)
    return Thinned(tuple(gone), files, size)
