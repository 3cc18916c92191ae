"""Files into the store: first what there is to do, then doing it.

Three lists are read side by side: what lies there, what the database's rows name (a picture's row knows its SHA-256),
and what the snapshot before this one had. A file that one of them lets us recognise is not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from qwenstudio.backup.disk import hash_file, open_new, sync_folder
from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.lists import Entry, line_of, read_list, side_by_side
from qwenstudio.backup.manifest import NAMED, Files, Part
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.store import Store


@dataclass
class Copying:
    """One list of files on its way into the store. `base`: what relative paths start from."""

    store: Store
    base: Path
    progress: Progress
    what: str
    files: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    missing: int = 0
    damaged: int = 0
    names: list[str] = field(default_factory=list)
    to_copy: int = 0
    to_copy_bytes: int = 0

    def plan(self, plan: Path, *, found: Iterable[Entry], named: Iterable[Entry], before: Iterable[Entry]) -> None:
        """Write what is to be done: an entry with a hash is in the store, one without is to be copied."""
        with open_new(plan.parent) as (out, temporary):
            for path, (here, row, old) in side_by_side(found, named, before):
                entry = self._decide(path, here or (stat_file(self.base / path, path) if row else None), row, old)
                if entry is None:
                    continue
                if not entry.sha256:
                    self.to_copy += 1
                    self.to_copy_bytes += entry.bytes
                    entry = replace(entry, said=row.sha256 if row else None)
                out.write(line_of(entry))
        temporary.rename(plan)

    def _decide(self, path: str, here: Entry | None, row: Entry | None, old: Entry | None) -> Entry | None:
        said = row if row and row.sha256 else None
        if said and self.store.has(said.sha256, said.bytes):
            # Whatever became of the file meanwhile: this is what the row means.
            return Entry(path, said.bytes, here.mtime_ns if here else 0, said.sha256)
        same = here and old and (here.bytes, here.mtime_ns) == (old.bytes, old.mtime_ns)
        if old and (same or not here) and self.store.has(old.sha256, old.bytes):
            return old if here or row else None
        if here is None and row:
            self.note_missing(path)
        return here

    def run(self, plan: Path, target: Path) -> Files:
        """Copy what the plan asks for and write the list."""
        tried = 0
        with open_new(target.parent) as (out, temporary):
            for entry in read_list(plan):
                if not entry.sha256:
                    tried += 1
                    self.progress.count(self.what, done=tried, total=self.to_copy, size=self.copied_bytes)
                    stored = self._copy(entry)
                    if stored is None:
                        continue
                    entry = stored
                self.files += 1
                self.bytes += entry.bytes
                out.write(line_of(entry))
        temporary.rename(target)
        self.store.sync()
        sync_folder(target.parent)
        digest, size = hash_file(target)
        return Files(
            list=Part(target.name, size, digest), files=self.files, bytes=self.bytes, copied=self.copied,
            copied_bytes=self.copied_bytes, missing=self.missing, damaged=self.damaged, names=tuple(self.names),
        )  # fmt: skip

    def _copy(self, entry: Entry) -> Entry | None:
        try:
            stored = self.store.add(self.base / entry.path)
        except FileNotFoundError:  # it was deleted meanwhile
            if entry.said is not None:
                self.note_missing(entry.path)
            return None
        except PermissionError as error:
            path = self.base / entry.path
            raise BackupError(f"{path} cannot be read: run the backup as the studio's account or as root") from error
        if stored.new:
            self.copied += 1
            self.copied_bytes += stored.bytes
        if entry.said and stored.sha256 != entry.said:
            self.damaged += 1
            self._name(f"damaged: {entry.path}")
        return Entry(entry.path, stored.bytes, entry.mtime_ns, stored.sha256)

    def note_missing(self, path: str) -> None:
        self.missing += 1
        self._name(f"missing: {path}")

    def _name(self, text: str) -> None:
        if len(self.names) < NAMED:
            self.names.append(text)


def walk(root: Path) -> Iterator[Entry]:
    """Every file below `root` that belongs into a backup, in the lists' order. Links are not followed.

    Left out are files under way (`.….tmp`), the readiness check's own, exports and zips: those live for some days, hold
    what the backup has anyway, and can be asked for again.
    """
    yield from _walk(root, "")


def _walk(root: Path, below: str) -> Iterator[Entry]:
    try:
        with os.scandir(root / below) as scan:
            found = [(entry.name, entry.is_dir(follow_symlinks=False), entry) for entry in scan]
    except FileNotFoundError:
        return  # a folder that went meanwhile, or no pictures yet
    # As `lists.order` sorts whole paths.
    for name, is_folder, entry in sorted(found, key=lambda item: item[0] + "\x01" * item[1]):
        path = f"{below}/{name}" if below else name
        if is_folder:
            yield from _walk(root, path)
        elif (
            not is_left_out(path)
            and entry.is_file(follow_symlinks=False)
            and (found_entry := stat_file(Path(entry.path), path))
        ):
            yield found_entry


def is_left_out(path: str) -> bool:
    """Whether a file of `STUDIO_MEDIA` is no part of a backup."""
    parts = path.split("/")
    temporary = parts[-1].startswith(".") and (parts[-1].endswith(".tmp") or parts[-1].startswith(".ready-"))
    return temporary or (len(parts) >= 3 and parts[1] in ("exports", "zips"))


def stat_file(file: Path, path: str) -> Entry | None:
    """A file's entry; None where there is none."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Entry(path, found.st_size, found.st_mtime_ns)
