"""Making a backup: the dump first, in one snapshot, then the files.

In that order every file that a row of the dump names was there when it was made: one that was deleted meanwhile is
noted, one that came meanwhile has no row and does no harm. The studio goes on working.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qwenstudio.backup import models
from qwenstudio.backup.copying import Copying, walk
from qwenstudio.backup.database import Snapshot, open_snapshot
from qwenstudio.backup.disk import check_room, hash_file, is_full, open_new, readable, sync_folder, write_file
from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.folder import Folder
from qwenstudio.backup.keys import Keys, fingerprints, write_keys
from qwenstudio.backup.lists import Entry, line_of, read_list
from qwenstudio.backup.manifest import MANIFEST, Files, Manifest, Part, check_part, write_manifest
from qwenstudio.backup.programs import Programs, find_for
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.store import Store
from qwenstudio.backup.thin import thin

DUMP = "database.dump"
MEDIA = "media.jsonl"
MODELS = "models.jsonl"
_NAMED, _PLAN = "named.jsonl", "plan.jsonl"


@dataclass(frozen=True)
class Source:
    """The studio that is backed up."""

    owner_url: str
    media: Path
    catalog: Path
    release: str
    settings: dict[str, str]
    keys: Keys


@dataclass(frozen=True)
class Wanted:
    """What the operator asked for. `keys`: the folder to put the keys into; `keep`: so many snapshots stay."""

    models: bool = False
    keys: Path | None = None
    keep: int | None = None


def back_up(root: Path, *, source: Source, wanted: Wanted, progress: Progress) -> Manifest:
    """Make one snapshot in the backup folder `root`; raises `BackupError`, and then what was there before is there."""
    folder = Folder.create(root)
    with folder.lock(alone=True):
        try:
            manifest = _Run(folder, source, wanted, progress).run()
            if wanted.keep:
                progress.step("thinning old backups")
                _thin(folder, wanted.keep, made=manifest.name)
            return manifest
        except OSError as error:
            if is_full(error):
                raise BackupError(_no_room(folder, "it was filled meanwhile")) from error
            raise BackupError(f"{error.filename or folder.root}: {error.strerror}. {_last_good(folder)}") from error
        finally:
            progress.end()


class _Run:
    """One backup under way."""

    def __init__(self, folder: Folder, source: Source, wanted: Wanted, progress: Progress) -> None:
        self.folder, self.source, self.wanted, self.progress = folder, source, wanted, progress
        self.store = Store(folder.files)
        self.began = time.monotonic()
        self.made_at = datetime.now(UTC)

    def run(self) -> Manifest:
        self.store.clear_unfinished()
        before = find_whole(self.folder)
        partial = self.folder.begin(self.made_at)
        try:
            manifest = self._fill(partial, before)
            self.progress.step("closing the snapshot")
            self.folder.finish(partial)
            return manifest
        except Exception:
            shutil.rmtree(partial, ignore_errors=True)  # what it has stored is there for the next run
            raise

    def _fill(self, partial: Path, before: Path | None) -> Manifest:
        # 1. the database, and everything that must be of the same moment
        self.progress.step("counting rows")
        with open_snapshot(self.source.owner_url) as snapshot:
            rows, migrations, entries = snapshot.rows(), snapshot.migrations(), snapshot.models()
            _write_list(partial / _NAMED, snapshot.named())
            programs = find_for(snapshot.version // 10_000)
            self.progress.step("dumping the database")
            self._dump(snapshot, partial / DUMP, programs)
            version = snapshot.version
        # 2. the files
        self.progress.step("looking for files")
        media = Copying(self.store, self.source.media, self.progress, "pictures and other files")
        media.plan(
            partial / _PLAN, found=walk(self.source.media), named=read_list(partial / _NAMED),
            before=_list_of(before, MEDIA),
        )  # fmt: skip
        media_files = self._copy(media, partial / _PLAN, partial / MEDIA)
        # 3. the models
        self.progress.step("looking for models")
        catalog = self._catalog(partial)
        weights = Copying(self.store, Path("/"), self.progress, "files of models")
        found = models.model_files(entries, checkpoints=self.wanted.models)
        weights.plan(partial / _PLAN, found=found, named=(), before=_list_of(before, MODELS))
        for path in models.absent_loras(entries):
            weights.note_missing(path)
        model_files = self._copy(weights, partial / _PLAN, partial / MODELS)
        # 4. what names all of it
        for name in (_NAMED, _PLAN):
            (partial / name).unlink()
        self.progress.step("writing the manifest")
        manifest = Manifest(
            name=partial.name.removesuffix(".partial"), made_at=self.made_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.began, 1), release=self.source.release, postgres=version,
            pg_dump=programs.major, migrations=migrations, rows=rows, database=part_of(partial / DUMP),
            media=media_files, models=model_files, catalog=catalog,
            checkpoints=models.checkpoint_folders(entries), settings=self.source.settings,
            keys=fingerprints(self.source.keys), keys_file=self._keys(partial),
        )  # fmt: skip
        sync_folder(partial)
        write_manifest(partial / MANIFEST, manifest)
        return manifest

    def _dump(self, snapshot: Snapshot, target: Path, programs: Programs) -> None:
        try:
            snapshot.dump(target, programs)
        except BackupError as error:
            if "No space left" in str(error) or "Disk quota" in str(error):
                size = readable(snapshot.database_bytes)
                raise BackupError(_no_room(self.folder, f"the database takes up to {size}")) from error
            raise
        target.chmod(0o600)
        with target.open("rb") as file:
            os.fsync(file.fileno())

    def _copy(self, copying: Copying, plan: Path, target: Path) -> Files:
        try:
            check_room(self.folder.root, needed=copying.to_copy_bytes, what=f"{copying.to_copy:,} new files")
        except BackupError as error:
            raise BackupError(f"{error} {_last_good(self.folder)}") from None
        self.progress.step(f"copying {copying.what}")
        return copying.run(plan, target)

    def _catalog(self, partial: Path) -> Part | None:
        try:
            content = self.source.catalog.read_bytes()
        except FileNotFoundError:
            return None
        write_file(partial / models.CATALOG, content)
        return part_of(partial / models.CATALOG)

    def _keys(self, partial: Path) -> str | None:
        if self.wanted.keys is None:
            return None
        self.progress.step("putting the keys apart")
        return str(self.wanted.keys / write_keys(self.wanted.keys, partial.name.partition(".")[0], self.source.keys))


def find_whole(folder: Folder) -> Path | None:
    """The newest snapshot whose lists are as they were written; without one every file is read anew."""
    for name in reversed(folder.names()):
        try:
            manifest = folder.manifest(name)
            for part in (manifest.media.list, manifest.models.list):
                check_part(folder.snapshots / name, part)
        except BackupError:
            continue
        return folder.snapshots / name
    return None


def _thin(folder: Folder, keep: int, *, made: str) -> None:
    try:
        thin(folder, keep=keep)
    except BackupError as error:
        raise BackupError(f"the backup {made} was made, but older ones were not thinned: {error}") from error


def part_of(path: Path) -> Part:
    """A file of a snapshot, read back from the disk."""
    digest, size = hash_file(path)
    return Part(path.name, size, digest)


def _write_list(path: Path, entries: Iterator[Entry]) -> None:
    with open_new(path.parent) as (out, temporary):
        for entry in entries:
            out.write(line_of(entry))
    temporary.rename(path)


def _list_of(snapshot: Path | None, name: str) -> Iterator[Entry]:
    return read_list(snapshot / name) if snapshot else iter(())


def _no_room(folder: Folder, what: str) -> str:
    free = readable(shutil.disk_usage(folder.root).free)
    return f"the disk of {folder.root} is full ({what}; {free} are free): make room and try again. {_last_good(folder)}"


def _last_good(folder: Folder) -> str:
    names = folder.names()
    kept = "What was stored already is not copied again."
    return f"The last good backup is {names[-1]}. {kept}" if names else f"There is no good backup here yet. {kept}"
