"""What every long file needs while it is written: its lease kept, its progress noted, the disk not surprised."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from django.conf import settings

from accounts.domain.errands import Lease
from accounts.domain.media import media_path

SYNC_BYTES = 256 * 1024 * 1024  # so that the last sync has not all of it to write
PROGRESS_S = 1.0
SPARE_BYTES = 256 * 1024 * 1024  # of the disk, left to everybody else
SPARE_SHARE = 50  # and at least this part of it: zips and exports count in nobody's storage, new pictures go first


class NoRoom(Exception):
    """The disk is too small for this file."""


class Pace:
    """One file under way. `note` writes down how far it is, at most once a second."""

    def __init__(self, file: BinaryIO, *, lease: Lease, note: Callable[[int], object]) -> None:
        self._file = file
        self._lease = lease
        self._note = note
        self._synced = 0
        self._noted_at = time.monotonic()

    def keep(self, done: int) -> None:
        """Call it often. Raises `LeaseLost`, `Interrupted`."""
        self._lease.keep()
        if time.monotonic() - self._noted_at >= PROGRESS_S:
            self._noted_at = time.monotonic()
            self._note(done)
        written = self._file.tell()
        if written - self._synced >= SYNC_BYTES:
            self._synced = written
            self._file.flush()
            os.fsync(self._file.fileno())


def check_room(needed: int) -> None:
    """Raise `NoRoom` where the disk would be full before so many bytes are written."""
    settings.STUDIO_MEDIA.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(settings.STUDIO_MEDIA)
    if needed + max(SPARE_BYTES, disk.total // SPARE_SHARE) > disk.free:
        raise NoRoom(f"the studio's disk has no room for {needed:,} bytes; ask its operators")


def clear_unfinished(path: str) -> None:
    """Remove what a killed worker has left beside a file of this name; nobody else may write into its folder."""
    for left in media_path(path).parent.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            left.unlink()
