"""Files from the store to where they belong, each read back by its hash, none written over."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from generation.domain.storage import LORA_FILE
from qwenstudio.backup.copying import stat_file, walk
from qwenstudio.backup.disk import check_room, copy_hashing, hash_file, open_new, sync_folder
from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.lists import Entry, is_safe, read_list, side_by_side
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.store import Store

NAMED = 5


@dataclass
class Placed:
    """What became of the files."""

    written: int = 0
    there: int = 0
    """They lay there already, the same byte for byte."""
    left_out: list[str] = field(default_factory=list)
    """Damaged or missing in the backup."""


class Owner:
    """Whose the files shall be: root gives them to the account that owns the place, others keep them. Where the place
    lets its group read (nginx's), so do they."""

    def __init__(self, place: Path) -> None:
        while not place.exists():
            place = place.parent
        found = place.stat()
        self.group_reads = found.st_mode & 0o050 == 0o050
        self._ids = (found.st_uid, found.st_gid) if os.geteuid() == 0 and found.st_uid else None

    def give(self, path: Path) -> None:
        """Let the account own it."""
        if self._ids:
            os.chown(path, *self._ids)

    def share(self, path: Path) -> None:
        """Let the group read it too, where it may; a folder's bit by which its group is handed on stays."""
        if self.group_reads:
            path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o050 if path.is_dir() else 0o040))

    def make_folder(self, folder: Path, *, mode: int = 0o700, shared: bool = False) -> None:
        """Make what is missing of it."""
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(mode=mode, exist_ok=True)
            self.give(new)
            if shared:
                self.share(new)
            sync_folder(new.parent)


def find_foreign(media: Path, listed: Path) -> list[str]:
    """The files in a folder of pictures that are not of this backup, at most a few.

    A LoRA is never one: its name says what it holds, and a server that has just been set up keeps the demo's.
    """
    foreign = []
    for path, (here, wanted) in side_by_side(walk(media), read_list(listed)):
        if wanted is None and LORA_FILE.fullmatch(path):
            continue
        if here and (wanted is None or here.bytes != wanted.bytes):
            foreign.append(path)
            if len(foreign) == NAMED:
                break
    return foreign


def place_media(media: Path, listed: Path, store: Store, *, progress: Progress, total: int) -> Placed:
    """Write the files of a list into a folder of pictures; raises `BackupError`, OSError.

    Those that are there stay; one that differs stops it. Run again after a cut it goes on.
    """
    owner, placed, touched = Owner(media), Placed(), set[Path]()
    if not media.exists():
        owner.make_folder(media)
        owner.group_reads = False  # of the folder above it; whoever wants a group in makes the folder first
    needed = sum(entry.bytes for entry in read_list(listed) if stat_file(media / entry.path, entry.path) is None)
    check_room(media, needed=needed, what="the pictures of this backup")
    for number, entry in enumerate(_safe(listed), start=1):
        progress.count("pictures and other files", done=number, total=total)
        target = media / entry.path
        if target.exists():
            if hash_file(target)[0] != entry.sha256:
                raise BackupError(f"{target} is there and is not what the backup has: nothing is written over it")
            placed.there += 1
            continue
        owner.make_folder(target.parent, shared=True)
        if write_from_store(store, entry, target, owner, shared=True):
            placed.written += 1
            touched.add(target.parent)
        else:
            placed.left_out.append(entry.path)
    for folder in touched:
        sync_folder(folder)
    return placed


def write_from_store(
    store: Store, entry: Entry, target: Path, owner: Owner, *, mode: int = 0o600, shared: bool = False
) -> bool:
    """Copy one file, with its time; whether what came out is what its hash says. If not, nothing is there."""
    try:
        with open_new(target.parent, mode=mode) as (out, temporary):
            if copy_hashing(store.path(entry.sha256), out)[0] != entry.sha256:
                raise _Damaged
        owner.give(temporary)
        if shared:
            owner.share(temporary)
        if entry.mtime_ns:
            os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns))
        temporary.rename(target)
    except (_Damaged, FileNotFoundError, ValueError):
        return False
    return True


class _Damaged(Exception):
    """Its hash does not fit."""


def _safe(listed: Path) -> Iterator[Entry]:
    for entry in read_list(listed):
        if not is_safe(entry.path):
            raise BackupError(f"{listed} names {entry.path!r}, which leads out of the folder of pictures")
        yield entry


def place_models(listed: Path, store: Store, *, progress: Progress, total: int) -> list[str]:
    """Put files of models where they were, where nothing is now; returns what was done and what was not."""
    said = []
    for number, entry in enumerate(read_list(listed), start=1):
        progress.count("files of models", done=number, total=total)
        target = Path(entry.path)
        if not target.is_absolute() or ".." in target.parts:
            raise BackupError(f"{listed} names {entry.path!r}, which is no absolute path")
        said.append(_place_model(entry, target, store))
    return said


def _place_model(entry: Entry, target: Path, store: Store) -> str:
    try:
        if target.exists():
            same = hash_file(target)[0] == entry.sha256
            return f"{target}: is there" if same else f"{target}: another file is there, it stays"
        owner = Owner(target)
        owner.make_folder(target.parent, mode=0o755)
        whole = write_from_store(store, entry, target, owner, mode=0o644)
        return f"{target}: written" if whole else f"{target}: is damaged in the backup"
    except OSError as error:
        return f"{target}: could not be written ({error.strerror})"
