"""manage.py rehearse: restores a backup into a server of its own that is thrown away, and says whether it was good."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from qwenstudio.backup import BackupError
from qwenstudio.backup.folder import Folder
from qwenstudio.backup.keys import write_keys
from qwenstudio.embedded.account import STATE
from qwenstudio.embedded.files import read_json
from qwenstudio.management.commands.backup import these_keys
from qwenstudio.processes import manage

OURS = ("DATABASE_", "REDIS_", "STUDIO_", "SECRET_KEY", "EMAIL_")
"""A rehearsal knows nothing of the working studio but its keys, which go by a file."""


class Command(BaseCommand):
    help = (
        "Restore the newest backup of DIR into a PostgreSQL and a folder of its own beside the working studio, with "
        "this studio's keys; compare rows and files; throw it away. Needs as much room as the pictures take. Exit "
        "code 1: from this backup nothing could be restored."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dir", type=Path, metavar="DIR", help="the backup folder")
        parser.add_argument("--snapshot", metavar="NAME", help="this one (default: the newest)")
        parser.add_argument(
            "--place", type=Path, default=Path("/var/tmp"), metavar="FOLDER",  # noqa: S108  (a private folder in it)
            help="a folder on a disk with room (default: /var/tmp)",
        )  # fmt: skip

    def handle(self, *, dir: Path, place: Path, snapshot: str | None, **options: Any) -> None:
        os.umask(0o077)
        began = time.monotonic()
        try:
            Folder.find(dir)
            with tempfile.TemporaryDirectory(prefix="qwenstudio-rehearsal-", dir=place) as name:
                done = self._restore(dir.absolute(), Path(name), snapshot)
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from None
        if done != 0:
            raise CommandError("the rehearsal failed: what is above says why. Make a new backup, and rehearse that")
        self.stdout.write(f"The rehearsal went well, in {time.monotonic() - began:.0f} s; nothing of it is left.")

    def _restore(self, root: Path, folder: Path, snapshot: str | None) -> int:
        var = folder / "var"
        keys = folder / "keys" / write_keys(folder / "keys", "these", these_keys())
        words = [str(root), "--keys", str(keys), *(["--snapshot", snapshot] if snapshot else [])]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        environment = clean | {"STUDIO_VAR": str(var), "STUDIO_PROCESS": "owner"}
        try:
            return subprocess.run(manage("restore", *words), env=environment).returncode
        finally:
            if home := read_json(var / STATE).get("home"):  # as root the database may have had a place of its own
                shutil.rmtree(home, ignore_errors=True)
