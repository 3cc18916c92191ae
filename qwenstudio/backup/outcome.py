"""What became of the last backup, for everybody to read: `$STUDIO_VAR/backup.json`.

The backup folder is for root alone (it holds everything). `doctor`, `daily` and `/metrics` run as the studio's account
and say from this note how old the last good one is.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qwenstudio.backup.disk import make_folder, open_new, sync_folder
from qwenstudio.backup.folder import newest_snapshot
from qwenstudio.backup.manifest import Manifest

log = logging.getLogger(__name__)

FILE = "backup.json"
WORDS = 500
"""Of an error: so many characters are kept."""


@dataclass(frozen=True)
class Outcome:
    """Times in ISO 8601, empty where there was none yet. `error`: of the last try, empty when it went well."""

    tried_at: str = ""
    succeeded_at: str = ""
    first_at: str = ""
    bytes: int = 0
    """What a restore of the last good one would read."""
    error: str = ""
    verified_at: str = ""
    """When all of it was last read back and found whole."""
    damage: str = ""
    """What the last look found, empty when all was whole."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the last good one was begun; None without one."""
        return seconds_since(self.succeeded_at)


def read_outcome(var: Path, *, backups: Path) -> Outcome:
    """The note; of the nightly folder itself, where this account may read it and it knows of a newer one (a note can
    be lost, a folder be brought from elsewhere).
    """
    noted = _read(var)
    newest = newest_snapshot(backups)
    if newest is None or newest.made_at <= noted.succeeded_at:
        return noted
    return dataclasses.replace(noted, succeeded_at=newest.made_at, bytes=size_of(newest))


def note_success(var: Path, manifest: Manifest) -> None:
    """A whole backup was made."""
    made_at = manifest.made_at
    _change(var, tried_at=made_at, succeeded_at=made_at, bytes=size_of(manifest), error="")


def note_failure(var: Path, error: str) -> None:
    """None was made; the last good one stays the last good one."""
    _change(var, tried_at=_now(), error=error[:WORDS])


def note_verified(var: Path, *, damage: str) -> None:
    """All of it was read back; `damage` says what was not whole."""
    _change(var, damage=damage[:WORDS], **({} if damage else {"verified_at": _now()}))


def size_of(manifest: Manifest) -> int:
    """Bytes of database, pictures and models."""
    return manifest.database.bytes + manifest.media.bytes + manifest.models.bytes


def seconds_since(moment: str) -> float | None:
    """Of a time in ISO 8601; None for none."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()) if moment else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(var: Path) -> Outcome:
    try:
        found = Outcome(**json.loads((var / FILE).read_text(encoding="utf-8")))
        for moment in (found.tried_at, found.succeeded_at, found.first_at, found.verified_at):
            seconds_since(moment)
    except (OSError, ValueError, TypeError):
        return Outcome()
    return found


def _change(var: Path, **values: str | int) -> None:
    """Whatever keeps it from being written, the backup itself is what counts."""
    noted = _read(var)
    noted = dataclasses.replace(noted, **values)  # type: ignore[arg-type]
    if noted.succeeded_at and not noted.first_at:
        noted = dataclasses.replace(noted, first_at=noted.succeeded_at)
    try:
        make_folder(var)
        with open_new(var) as (file, temporary):
            os.fchmod(file.fileno(), 0o644)  # it holds no secret, and root writes it for others
            file.write(json.dumps(dataclasses.asdict(noted), indent=1).encode() + b"\n")
        temporary.rename(var / FILE)
        sync_folder(var)
    except OSError as error:
        log.warning("what became of the backup could not be noted in %s: %s", var / FILE, error)
