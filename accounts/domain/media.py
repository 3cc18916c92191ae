"""Files under `STUDIO_MEDIA`: written whole or not at all, readable by this account only.

Where nginx sends them (`STUDIO_ACCEL_PREFIX`) their group may read them too: nginx's, which new folders and files take
over from `STUDIO_MEDIA` (docs/production.md).

Every file of a tenant lies in the folder that its id names.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.conf import settings


def write_atomic(path: str, data: bytes) -> None:
    """Write a file under its name only when all of it is on the disk. Raises OSError; then nothing is left behind."""
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: str) -> Iterator[BinaryIO]:
    """The same for a file that is written piece by piece: it has its name when the block ends without an error.

    What a killed process leaves has a name that the janitor knows.
    """
    target = media_path(path)
    _make_folders(target.parent)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        mode = 0o640 if settings.STUDIO_ACCEL_PREFIX else 0o600
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w+b") as file:
            _give_away(temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def delete_files(paths: Iterable[str]) -> int:
    """Delete files; returns how many were there. Raises ValueError for a path outside of `STUDIO_MEDIA`, OSError."""
    deleted = 0
    for path in [media_path(path) for path in paths]:
        try:
            path.unlink()
            deleted += 1
        except FileNotFoundError:
            continue
    return deleted


def media_path(path: str) -> Path:
    """The absolute path; raises ValueError where it leads out of `STUDIO_MEDIA`."""
    pure = Path(path)
    if pure.is_absolute() or ".." in pure.parts or "\x00" in path or not pure.parts:
        raise ValueError(f"not a path under STUDIO_MEDIA: {path!r}")
    return Path(settings.STUDIO_MEDIA) / pure


def _make_folders(folder: Path) -> None:
    """Make what is missing, each folder private and on the disk before anything is put into it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        # No chmod: it would take the bit away by which what is made inside gets the folder's group.
        new.mkdir(mode=0o750 if settings.STUDIO_ACCEL_PREFIX else 0o700, exist_ok=True)
        _give_away(new)
        _sync_folder(new.parent)


def _give_away(path: Path) -> None:
    """What root makes (`release compare`) belongs to the account that `STUDIO_MEDIA` belongs to, or it could not read
    it. The group stays.
    """
    if os.geteuid() == 0 and (owner := os.stat(settings.STUDIO_MEDIA).st_uid) != 0:
        os.chown(path, owner, -1)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
