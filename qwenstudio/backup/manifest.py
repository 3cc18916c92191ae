"""What a snapshot says of itself: `manifest.json`, sealed by a hash over its own content."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from qwenstudio.backup.disk import hash_file, write_object
from qwenstudio.backup.errors import BackupError

MANIFEST = "manifest.json"
NAMED = 100
"""So many missing or damaged files stand in the manifest by name; all are counted."""


@dataclass(frozen=True)
class Part:
    """One file of the snapshot's folder."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Files:
    """A list of files and what it adds up to."""

    list: Part
    files: int
    bytes: int
    copied: int
    """How many of them this backup has copied; the others were stored already."""
    copied_bytes: int
    missing: int = 0
    """Rows name them, and neither the studio nor an earlier backup has them."""
    damaged: int = 0
    """They are not what their row says."""
    names: tuple[str, ...] = ()
    """The first of both kinds."""


@dataclass(frozen=True)
class Manifest:
    """Everything that a restore compares. `rows`: table → rows in the dump; `keys`: see `keys.py`."""

    name: str
    made_at: str
    seconds: float
    release: str
    postgres: int
    """`server_version_num` of the server that was dumped."""
    pg_dump: int
    """The major version of the program that wrote the dump."""
    migrations: tuple[tuple[str, str], ...]
    rows: dict[str, int]
    database: Part
    media: Files
    models: Files
    catalog: Part | None
    """The models file."""
    checkpoints: dict[str, str]
    """Model → the local folder of its checkpoint."""
    settings: dict[str, str]
    keys: dict[str, Any] = field(default_factory=dict)
    keys_file: str | None = None

    @property
    def age_s(self) -> float:
        """Seconds since it was begun."""
        made = datetime.fromisoformat(self.made_at)
        return (datetime.now(made.tzinfo) - made).total_seconds()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write it, synced, with its seal."""
    content = dataclasses.asdict(manifest)
    write_object(path, content | {"seal": _seal(content)})


def read_manifest(path: Path) -> Manifest:
    """Read it; raises `BackupError` where a byte has changed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("seal") != _seal(content):
            raise ValueError("its seal does not fit")
        return Manifest(
            **content
            | {
                "migrations": tuple((app, name) for app, name in content["migrations"]),
                "database": Part(**content["database"]),
                "catalog": Part(**content["catalog"]) if content["catalog"] else None,
                "media": _files(content["media"]),
                "models": _files(content["models"]),
            }
        )
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{path} is damaged ({error}): take another snapshot") from error


def check_part(folder: Path, part: Part) -> None:
    """Read a snapshot's file back; raises `BackupError` where it is not what it was."""
    try:
        if hash_file(folder / Path(part.file).name) == (part.sha256, part.bytes):
            return
    except OSError as error:
        raise BackupError(f"{folder / part.file} cannot be read: {error.strerror}") from error
    raise BackupError(f"{folder / part.file} is damaged: it is not what was written")


def _files(content: dict[str, Any]) -> Files:
    return Files(**content | {"list": Part(**content["list"]), "names": tuple(content["names"])})


def _seal(content: dict[str, Any]) -> str:
    # Through JSON once, so that tuples read back as lists give the same.
    return sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
