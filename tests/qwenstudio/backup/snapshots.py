"""Snapshots that hold nothing, for whoever only asks how old they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from qwenstudio.backup.folder import Folder
from qwenstudio.backup.manifest import MANIFEST, Files, Manifest, Part, write_manifest


def make_snapshot(root: Path, *, hours: float, whole: bool = True) -> Manifest:
    """One that was begun so many hours ago."""
    moment = datetime.now(UTC) - timedelta(hours=hours)
    folder = Folder.create(root)
    partial = folder.begin(moment)
    part = Part("database.dump", 700, "0" * 64)
    files = Files(part, files=0, bytes=30, copied=0, copied_bytes=0)
    manifest = Manifest(
        name=partial.name.removesuffix(".partial"), made_at=moment.isoformat(timespec="seconds"), seconds=1.0,
        release="1.0", postgres=150000, pg_dump=15, migrations=(), rows={}, database=part, media=files,
        models=files, catalog=None, checkpoints={}, settings={},
    )  # fmt: skip
    if whole:
        write_manifest(partial / MANIFEST, manifest)
        folder.finish(partial)
    return manifest
