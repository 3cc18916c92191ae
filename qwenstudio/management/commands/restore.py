"""manage.py restore: a backup into an empty server."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from generation.enums import LaneState
from generation.models import Lane
from qwenstudio.backup import BackupError
from qwenstudio.backup.folder import Folder
from qwenstudio.backup.keys import Keys, read_keys
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.restore import Choice, Restored, Target, restore
from qwenstudio.embedded import AlreadyRunning, EmbeddedError, StateLock, start
from qwenstudio.embedded.files import write_json
from qwenstudio.embedded.secrets import FILE, make_secrets
from qwenstudio.management.commands.backup import these_keys
from qwenstudio.processes import ROOT, manage
from qwenstudio.settings import database_urls
from qwenstudio.units.layout import Layout

SWITCHES = ("set_aside", "without_keys", "without_damaged", "with_models")


class Command(BaseCommand):
    help = (
        "Restore a backup of `manage.py backup` into this server, which must be empty: the database of "
        "DATABASE_OWNER_URL (or, without one, a new own PostgreSQL under STUDIO_VAR) and STUDIO_MEDIA. Nothing is "
        "written over. docs/backup.md has the rest."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dir", type=Path, metavar="DIR", help="the backup folder")
        parser.add_argument("--snapshot", metavar="NAME", help="this one (default: the newest)")
        parser.add_argument(
            "--set-aside", action="store_true",
            help="move what is in the database and in STUDIO_MEDIA out of the way first; it is kept",
        )  # fmt: skip
        parser.add_argument("--keys", type=Path, metavar="FILE", help="for a new own PostgreSQL: the studio's keys")
        parser.add_argument("--without-keys", action="store_true", help="go on although this server has other keys")
        parser.add_argument("--without-damaged", action="store_true", help="leave out files that are damaged in DIR")
        parser.add_argument("--with-models", action="store_true", help="put files of models where they were")

    def handle(self, *, dir: Path, keys: Path | None, **options: Any) -> None:
        os.umask(0o077)
        try:
            if not database_urls["owner"]:
                self._restore_into_own_servers(dir, keys, options)
                return
            if keys:
                raise CommandError("--keys is for a new own PostgreSQL; here set SECRET_KEY and STUDIO_ENCRYPTION_KEYS")
            choice = Choice(
                snapshot=options["snapshot"], set_aside=options["set_aside"], without_keys=options["without_keys"],
                without_damaged=options["without_damaged"], models=options["with_models"],
            )  # fmt: skip
            found = restore(dir, target=this_server(), choice=choice, progress=Progress())
        except (BackupError, EmbeddedError, AlreadyRunning) as error:
            raise CommandError(str(error)) from None
        for line in describe(found):
            self.stdout.write(line)

    def _restore_into_own_servers(self, root: Path, keys: Path | None, options: dict[str, Any]) -> None:
        """Start the PostgreSQL that `make run` would start, restore into it by the same command, stop it."""
        var: Path = settings.STUDIO_VAR
        words = [str(root.absolute()), *(["--snapshot", options["snapshot"]] if options["snapshot"] else [])]
        words += [f"--{name.replace('_', '-')}" for name in SWITCHES if options[name]]
        keys = keys or _keys_of(root, options["snapshot"])
        lock = StateLock(var)
        lock.acquire(address="a restore")
        try:
            if not (var / FILE).exists():
                if keys is None and not options["without_keys"]:
                    raise CommandError(
                        f"{root} has no keys (it was made without --with-keys): name the file that has them with "
                        "--keys. --without-keys makes new ones: everybody is signed out, and second factors are lost"
                    )
                if keys:
                    _take_over(var, read_keys(keys))
            services = start(var, log=self.stdout.write, valkey=False)
            try:
                environment = os.environ | services.environment() | {"STUDIO_PROCESS": "owner"}
                done = subprocess.run(manage("restore", *words), env=environment)
            finally:
                services.stop()
        finally:
            lock.release()
        if done.returncode != 0:
            sys.exit(done.returncode)


def _keys_of(root: Path, snapshot: str | None) -> Path | None:
    """The file in the backup folder that has the keys of a snapshot (the newest by default)."""
    folder = Folder.find(root)
    names = [snapshot] if snapshot in folder.names() else folder.names()[-1:]
    found = [folder.keys / Path(folder.manifest(name).keys_file or "none").name for name in names if name]
    return next((file for file in found if file.is_file()), None)


def _take_over(var: Path, keys: Keys) -> None:
    """New passwords, but the backup's keys."""
    made = replace(make_secrets(), secret_key=keys.secret_key, encryption_key=" ".join(keys.encryption_keys))
    write_json(var / FILE, asdict(made))


def this_server() -> Target:
    """The server of this process's environment."""
    return Target(
        owner_url=database_urls["owner"],
        media=settings.STUDIO_MEDIA,
        release=settings.RELEASE,
        known_migrations=known_migrations(),
        keys=these_keys(),
        migrate=migrate,
        rebuild=rebuild,
    )


def known_migrations() -> frozenset[tuple[str, str]]:
    """Those of this code, and those that its squashed ones have replaced."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    replaced = {pair for migration in loader.disk_migrations.values() for pair in migration.replaces}
    return frozenset(loader.disk_migrations) | replaced


def migrate() -> None:
    """Bring an older release's tables to this one's."""
    call_command("migrate", verbosity=0, interactive=False)
    connection.close()


def settle_lanes() -> None:
    """Which lane serves, and with which release, is this machine's affair: the backup may be another one's."""
    current = Layout.here().current
    lane = os.readlink(current).rpartition("/")[2] if current.is_symlink() else settings.STUDIO_LANE
    with transaction.atomic():
        Lane.objects.update(state=LaneState.STOPPED, release=None, serves=[], detail="", changed_at=timezone.now())
        Lane.objects.filter(name=lane).update(state=LaneState.SERVING)
    connection.close()


def rebuild() -> None:
    """Lanes as they are here; counters and storage anew, under the worker's role, which sees all rows."""
    settle_lanes()
    done = subprocess.run(
        manage("rebuild"), cwd=ROOT, env=os.environ | {"STUDIO_PROCESS": "ticker"}, capture_output=True, text=True
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BackupError(
            f"everything is restored, but `manage.py rebuild` failed: {last}. Mend that and run the restore again, "
            "it goes on there"
        )


def describe(found: Restored) -> list[str]:
    """What an operator wants to know."""
    manifest, placed = found.manifest, found.placed
    width = max((len(table) for table in found.rows), default=0)
    lines = [f"{'table':<{width}}  {'backup':>10}  {'restored':>10}"] if found.rows else []
    lines += [f"{table:<{width}}  {there:>10,}  {here:>10,}" for table, (there, here) in found.rows.items()]
    lines.append(
        f"Restored {manifest.name} of release {manifest.release}: {placed.written:,} files written, "
        f"{placed.there:,} were there, {len(placed.left_out):,} left out"
    )
    if found.expired_exports:
        lines.append(f"{found.expired_exports:,} exports and zips have expired (they are no part of a backup)")
    return lines + [f"Note: {note}" for note in found.notes]
