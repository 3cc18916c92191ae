"""Restoring a backup into an empty server.

Everything is checked before anything is written; then come the files, and the database last, in one transaction: until
then nothing is there that a page could show. Nothing is written over. What was cut off is run again and goes on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from qwenstudio.backup import database
from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.folder import Folder
from qwenstudio.backup.keys import Keys, missing_keys
from qwenstudio.backup.manifest import Manifest, check_part
from qwenstudio.backup.placing import Placed, find_foreign, place_media, place_models
from qwenstudio.backup.programs import find_for
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.store import Store

SHOWN = 10
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Target:
    """The server that is restored into. `migrate` and `rebuild` are its commands, for when the rows are there."""

    owner_url: str
    media: Path
    release: str
    known_migrations: frozenset[tuple[str, str]]
    keys: Keys
    migrate: Callable[[], None]
    rebuild: Callable[[], None]


@dataclass(frozen=True)
class Choice:
    """What the operator asked for."""

    snapshot: str | None = None
    set_aside: bool = False
    without_keys: bool = False
    without_damaged: bool = False
    models: bool = False


@dataclass
class Restored:
    """What there is now. `rows`: table → (in the backup, here before any migration)."""

    manifest: Manifest
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    placed: Placed = field(default_factory=Placed)
    expired_exports: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def differing(self) -> list[str]:
        """Tables whose rows are not as many as in the backup."""
        return [table for table, (there, here) in self.rows.items() if there != here]


def restore(root: Path, *, target: Target, choice: Choice, progress: Progress) -> Restored:
    """Restore one snapshot; raises `BackupError`, which says what was done by then."""
    folder = Folder.find(root)
    with folder.lock(alone=False):
        try:
            return _Restore(folder, target, choice, progress).run()
        except OSError as error:
            raise BackupError(
                f"{error.filename or target.media}: {error.strerror}. The database was not touched; run it again when "
                "that is mended, it goes on where it stopped"
            ) from error
        finally:
            progress.end()


class _Restore:
    """One restore under way."""

    def __init__(self, folder: Folder, target: Target, choice: Choice, progress: Progress) -> None:
        self.target, self.choice, self.progress = target, choice, progress
        self.store = Store(folder.files)
        names = folder.names()
        name = choice.snapshot or (names[-1] if names else "")
        if name not in names:
            there = ", ".join(names) or "none"
            raise BackupError(f"there is no whole backup {name} in {folder.root} (there are: {there})")
        self.folder = folder.snapshots / name
        self.manifest = folder.manifest(name)
        self.result = Restored(self.manifest)

    def run(self) -> Restored:
        self.progress.step("reading the backup back")
        for part in (self.manifest.database, self.manifest.media.list, self.manifest.models.list):
            check_part(self.folder, part)
        self._check_release()
        self._check_keys()
        with database.connect(self.target.owner_url) as connection:
            self._check_server(connection)
            loaded = self._check_database(connection)
            self._place_files()
            if not loaded:
                self._load(connection)
            self._compare(connection)
            self._finish(connection)
        return self.result

    # ---- 1. checks

    def _check_release(self) -> None:
        unknown = [f"{app}.{name}" for app, name in self.manifest.migrations
                   if (app, name) not in self.target.known_migrations]  # fmt: skip
        if unknown:
            raise BackupError(
                f"this backup is of a newer release ({self.manifest.release}): this one ({self.target.release}) does "
                f"not know {len(unknown)} of its migrations, the first is {unknown[0]}. Install that release or a newer"
            )

    def _check_keys(self) -> None:
        lacking = missing_keys(self.manifest.keys, self.target.keys)
        if not lacking:
            return
        if self.choice.without_keys:
            self.result.notes += lacking
            return
        where = self.manifest.keys_file
        source = f"They were put into {where}" if where else "They are in no backup that was made without --with-keys"
        raise BackupError(
            "this server does not have the backup's keys. " + ". ".join(lacking) + f". {source}: set SECRET_KEY and "
            "STUDIO_ENCRYPTION_KEYS (or what their _FILE names) to them first. --without-keys goes on all the same"
        )

    def _check_server(self, connection: Connection) -> None:
        server, dumped = connection.info.server_version // 10_000, self.manifest.postgres // 10_000
        if server < dumped:
            raise BackupError(
                f"the backup is of PostgreSQL {dumped}, this server is {server}, which loads no dump of a newer one"
            )
        others = connection.execute(database.OTHERS_SQL).fetchall()
        if others:
            seen = ", ".join(f"{count} × {name}" for name, count in others)
            raise BackupError(f"processes of the studio are connected ({seen}): stop them first")

    def _check_database(self, connection: Connection) -> bool:
        """Whether an earlier run has loaded this snapshot already; raises where the database is somebody's."""
        people = database.people_in(connection)
        mark = database.read_mark(connection)
        expected = self.manifest.rows.get("accounts_user", 0) + self.manifest.rows.get("accounts_tenant", 0)
        if mark == self.manifest.name and people and people == expected:
            return True
        if people and not self.choice.set_aside:
            if mark:
                raise BackupError(f"a restore of {mark} was cut off here: finish it with --snapshot {mark}")
            raise BackupError(
                "the database is not empty: a restore writes over nothing. Name an empty one in DATABASE_OWNER_URL and "
                "its kin, or let --set-aside move what is there out of the way (it is kept)"
            )
        return False

    # ---- 2. files

    def _place_files(self) -> None:
        listed = self.folder / self.manifest.media.list.file
        foreign = find_foreign(self.target.media, listed)
        if foreign and not self.choice.set_aside:
            raise BackupError(
                f"{self.target.media} holds files that are not of this backup ({', '.join(foreign)}): name an empty "
                "STUDIO_MEDIA, or let --set-aside move it out of the way (it is kept)"
            )
        if foreign:
            aside = self.target.media.with_name(f"{self.target.media.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            before = self.target.media.stat()
            self.target.media.rename(aside)
            self.target.media.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(self.target.media, before.st_uid, before.st_gid)
            self.target.media.chmod(stat.S_IMODE(before.st_mode))  # nginx's group gets in as before
            self.result.notes.append(f"the pictures that were here lie in {aside}")
        self.progress.step("writing pictures")
        placed = place_media(
            self.target.media, listed, self.store, progress=self.progress, total=self.manifest.media.files
        )
        self.result.placed = placed
        if placed.left_out and not self.choice.without_damaged:
            shown = ", ".join(placed.left_out[:SHOWN])
            raise BackupError(
                f"{len(placed.left_out)} files of the backup are damaged or gone: {shown}"
                f"{' …' if len(placed.left_out) > SHOWN else ''}. The database was not touched. An older snapshot may "
                "be whole (manage.py backup --verify says which); --without-damaged goes on without these files"
            )
        if self.manifest.models.files and self.choice.models:
            self.progress.step("writing models")
            listed = self.folder / self.manifest.models.list.file
            total = self.manifest.models.files
            self.result.notes += place_models(listed, self.store, progress=self.progress, total=total)
        elif self.manifest.models.files:
            self.result.notes.append(
                f"{self.manifest.models.files} files of models are in the backup: --with-models puts them back"
            )

    # ---- 3. database

    def _load(self, connection: Connection) -> None:
        self.progress.step("loading the database")
        aside = None
        if database.people_in(connection):
            aside = f"before_restore_{datetime.now(UTC):%Y%m%dt%H%M%S_%fz}"
            self.result.notes.append(
                f"the rows that were here are in the schema {aside}; DROP SCHEMA {aside} CASCADE removes them"
            )
        programs = find_for(max(connection.info.server_version // 10_000, self.manifest.pg_dump))
        try:
            database.begin_load(connection, snapshot=self.manifest.name, aside=aside)
        except psycopg.Error as error:
            raise BackupError(f"the database could not be emptied: {str(error).strip()}") from error
        try:
            database.load_dump(self.target.owner_url, self.folder / self.manifest.database.file, programs)
        except BaseException:
            database.undo_load(connection, aside=aside)
            raise
        self.progress.step("the rows are loaded")
        connection.execute("ANALYZE")

    def _compare(self, connection: Connection) -> None:
        if database.read_migrations(connection) != self.manifest.migrations:
            self.result.notes.append("the rows were loaded and migrated by a run before this one: not counted again")
            return
        self.progress.step("counting rows")
        here = database.count_all_rows(connection)
        tables = sorted(self.manifest.rows.keys() | here.keys())
        self.result.rows = {table: (self.manifest.rows.get(table, 0), here.get(table, 0)) for table in tables}
        if self.result.differing:
            raise BackupError(f"rows are missing in {', '.join(self.result.differing)}: this restore is not good")

    def _finish(self, connection: Connection) -> None:
        self.progress.step("migrating")
        self.target.migrate()
        self.result.expired_exports = database.expire_exports(connection)
        self.progress.step("counting counters and storage anew")
        self.target.rebuild()
        self.progress.step("ending the restore")
        database.end_load(connection)
