"""PostgreSQL's own programs: a `pg_dump` must not be older than the server, a `pg_restore` not older than the dump."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from qwenstudio.backup.errors import BackupError
from qwenstudio.embedded import EmbeddedError
from qwenstudio.embedded.postgres import FOLDERS, find_programs

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True)
class Programs:
    """One version's `pg_dump` and `pg_restore`."""

    folder: Path
    major: int

    def run(self, program: str, *arguments: str, url: str = "") -> str:
        """Run one of them on the database of `url`; returns what it printed. Raises `BackupError` with its words.

        A password goes through the environment: arguments are everybody's to read.
        """
        environment = dict(os.environ)
        line = [str(self.folder / program), *arguments]
        if url:
            parameters = conninfo_to_dict(url)
            if password := parameters.pop("password", None):
                environment["PGPASSWORD"] = str(password)
            line.append(f"--dbname={make_conninfo('', **parameters)}")
        done = subprocess.run(line, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise BackupError(f"{program} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
        return done.stdout


def find_for(major: int) -> Programs:
    """Programs of this version, or else of the next newer one; raises `BackupError`."""
    found = {major_of(folder): folder for folder in reversed(list(_folders()))}
    fitting = sorted(version for version in found if version >= major)
    if not fitting:
        seen = ", ".join(str(version) for version in sorted(found) if version) or "none"
        raise BackupError(
            f"there is no pg_dump and pg_restore of PostgreSQL {major} or newer on this machine (found: {seen}): "
            f"install them (Debian, Ubuntu: apt-get install postgresql-client-{major})"
        )
    return Programs(found[fitting[0]], fitting[0])


def major_of(folder: Path) -> int:
    """The version of a folder's `pg_dump`; 0 where it does not run."""
    try:
        done = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = _VERSION.search(done.stdout)
    return int(match.group(1)) if match and done.returncode == 0 else 0


def _folders() -> Iterator[Path]:
    """Where they may lie, the likeliest first. Debian's /usr/bin/pg_dump only picks one of the first place."""
    for pattern in PLACES:
        for folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            if (folder / "pg_dump").exists() and (folder / "pg_restore").exists():
                yield folder
    if (named := shutil.which("pg_dump")) and shutil.which("pg_restore"):
        yield Path(named).parent
    for version in FOLDERS:
        try:
            yield find_programs(version)
        except EmbeddedError:
            continue
