"""Files that are whole or not there, for this account only (0600, folders 0700), and on the disk when we say so."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from qwenstudio.backup.errors import BackupError

CHUNK = 1024 * 1024
SPARE_BYTES = 64 * 1024 * 1024
"""What a backup leaves free on its disk."""
TEMPORARY = ".{}.tmp"
"""As `accounts.domain.media` names what it has under way, so that the janitor knows it in `STUDIO_MEDIA` too."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def make_folder(folder: Path) -> Path:
    """Make what is missing of it, each part private and on the disk before anything is put into it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        sync_folder(new.parent)
        folder = new
    return folder


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def open_new(folder: Path, *, mode: int = 0o600) -> Iterator[tuple[BinaryIO, Path]]:
    """A file under a temporary name, synced at the block's end, removed after an error. The caller renames it."""
    path = folder / TEMPORARY.format(secrets.token_hex(8))
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), "w+b") as file:
            yield file, path
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes) -> None:
    """Write a small file in one piece."""
    with open_new(path.parent) as (file, temporary):
        file.write(content)
    temporary.rename(path)
    sync_folder(path.parent)


def write_object(path: Path, content: dict[str, Any]) -> None:
    """The same for a JSON object."""
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def copy_hashing(source: Path, out: BinaryIO) -> tuple[str, int]:
    """Copy a file into an open one; returns its SHA-256 and size."""
    digest, size = sha256(), 0
    with source.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
    return digest.hexdigest(), size


def hash_file(path: Path) -> tuple[str, int]:
    """A file's SHA-256 and size, read from the disk."""
    digest, size = sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def check_room(folder: Path, *, needed: int, what: str) -> None:
    """Raises `BackupError` where the disk of `folder` cannot take `needed` bytes more."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise BackupError(
            f"the disk of {folder} is too small for {what}: it needs {readable(needed + SPARE_BYTES)}, "
            f"{readable(free)} are free. Nothing was changed that was there before; make room and try again."
        )


def is_full(error: OSError) -> bool:
    """Whether it says that a disk (or a quota) is full."""
    return error.errno in _FULL


def readable(size: float) -> str:
    """`3.4 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} B" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
