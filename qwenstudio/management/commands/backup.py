"""manage.py backup: a snapshot of the whole studio into a folder; also verifies and lists them."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from qwenstudio.backup import BackupError
from qwenstudio.backup.disk import readable
from qwenstudio.backup.folder import Folder
from qwenstudio.backup.keys import Keys
from qwenstudio.backup.make import Source, Wanted, back_up
from qwenstudio.backup.manifest import Manifest
from qwenstudio.backup.outcome import note_failure, note_success, note_verified
from qwenstudio.backup.progress import Progress
from qwenstudio.backup.verify import verify
from qwenstudio.settings import database_urls, env

SAME = Path("same")


class Command(BaseCommand):
    help = (
        "Back up the whole studio into DIR: database, pictures, models, settings without secrets. Runs beside the "
        "working studio; files that DIR has already are not copied again. docs/backup.md has the rest."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dir", type=Path, metavar="DIR", help="the backup folder; made where there is none")
        parser.add_argument("--keep", type=int, metavar="N", help="afterwards keep the newest N backups only")
        parser.add_argument("--with-models", action="store_true", help="store the files of local checkpoints, too")
        parser.add_argument(
            "--with-keys", type=Path, nargs="?", const=SAME, metavar="FOLDER",
            help="also write the studio's keys, into FOLDER (default: DIR/keys); better kept on another medium",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print the manifest (or the findings) as JSON")
        does = parser.add_mutually_exclusive_group()
        does.add_argument("--verify", action="store_true", help="read everything back instead; exit code 1: damaged")
        does.add_argument("--list", action="store_true", help="name the backups in DIR instead")

    def handle(self, *, dir: Path, **options: Any) -> None:
        os.umask(0o077)
        try:
            if options["verify"]:
                self._verify(dir, as_json=options["json"])
            elif options["list"]:
                self._list(dir, as_json=options["json"])
            else:
                self._back_up(dir.absolute(), options)
        except BackupError as error:
            raise CommandError(str(error)) from None

    def _back_up(self, root: Path, options: dict[str, Any]) -> None:
        if options["keep"] is not None and options["keep"] < 1:
            raise CommandError("--keep must be at least 1")
        if not database_urls["owner"]:
            raise CommandError("DATABASE_OWNER_URL is not set and no studio runs here: nothing to back up")
        keys: Path | None = options["with_keys"]
        wanted = Wanted(
            models=options["with_models"],
            keys=root / "keys" if keys == SAME else keys and keys.absolute(),
            keep=options["keep"],
        )
        try:
            manifest = back_up(root, source=this_studio(), wanted=wanted, progress=Progress())
        except BackupError as error:
            note_failure(settings.STUDIO_VAR, str(error))
            raise
        note_success(settings.STUDIO_VAR, manifest)
        if options["json"]:
            self.stdout.write((root / "snapshots" / manifest.name / "manifest.json").read_text(encoding="utf-8"))
            return
        for line in describe(manifest):
            self.stdout.write(line)

    def _verify(self, root: Path, *, as_json: bool) -> None:
        found = verify(root, progress=Progress())
        damage = f"{len(found.problems)} things are damaged: {found.problems[0]}" if found.problems else ""
        note_verified(settings.STUDIO_VAR, damage=damage)
        if as_json:
            self.stdout.write(json.dumps(vars(found), indent=1))
        else:
            self.stdout.write(
                f"{len(found.snapshots)} backups, {found.files:,} files, {readable(found.bytes)} read back and whole"
            )
            for problem in found.problems:
                self.stdout.write(f"DAMAGED  {problem}")
        if found.problems:
            raise CommandError(f"{len(found.problems)} things are damaged")

    def _list(self, root: Path, *, as_json: bool) -> None:
        folder = Folder.find(root)
        manifests = [folder.manifest(name) for name in folder.names()]
        if as_json:
            rows = [{"name": one.name, "made_at": one.made_at, "release": one.release} for one in manifests]
            self.stdout.write(json.dumps(rows, indent=1))
            return
        for one in manifests:
            self.stdout.write(
                f"{one.name}  release {one.release}, {sum(one.rows.values()):,} rows, "
                f"database {readable(one.database.bytes)}, {one.media.files:,} files of {readable(one.media.bytes)}"
            )


def this_studio() -> Source:
    """The studio of this process's environment."""
    return Source(
        owner_url=database_urls["owner"],
        media=settings.STUDIO_MEDIA,
        catalog=settings.STUDIO_MODELS,
        release=settings.RELEASE,
        settings=env.plain,
        keys=these_keys(),
    )


def these_keys() -> Keys:
    """The keys of this process's environment; raises `BackupError` where there are none."""
    if not settings.STUDIO_ENCRYPTION_KEYS or not env.secret("SECRET_KEY"):
        raise BackupError("SECRET_KEY and STUDIO_ENCRYPTION_KEYS must be set as the studio has them")
    return Keys(settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS), tuple(settings.STUDIO_ENCRYPTION_KEYS))


def describe(manifest: Manifest) -> list[str]:
    """What an operator wants to know of a backup that was just made."""
    media, models = manifest.media, manifest.models
    lines = [
        f"Backup {manifest.name} in {manifest.seconds:,.1f} s: release {manifest.release}, "
        f"{sum(manifest.rows.values()):,} rows in {len(manifest.rows)} tables, "
        f"database {readable(manifest.database.bytes)}",
        f"{media.files:,} pictures and other files of {readable(media.bytes)}, new of them "
        f"{media.copied:,} of {readable(media.copied_bytes)}",
        f"{models.files:,} files of models of {readable(models.bytes)}, new of them {models.copied:,}",
    ]
    if media.missing or media.damaged or models.missing:
        lines.append(
            f"{media.missing + models.missing:,} files are not there, {media.damaged:,} are not what their row says: "
            + ", ".join((*media.names, *models.names)[:5])
        )
    lines.append(
        f"Keys: {manifest.keys_file}"
        if manifest.keys_file
        else "Keys are not in it: keep SECRET_KEY and STUDIO_ENCRYPTION_KEYS somewhere else (--with-keys)"
    )
    return lines
