"""The compiler's files on disk, kept under a bound. Imports no torch.

Inductor and Triton keep what they made in folders of a few files that belong together, and make anew what is missing.
So whole folders go, those that were used longest ago first.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

CACHE_BYTES = 4_000_000_000
_SPARED_S = 3600.0  # another worker may be compiling into it at this moment


@dataclass(frozen=True, slots=True)
class _Unit:
    """A folder that holds files: their bytes, and when the newest of them was read or written."""

    path: Path
    bytes: int
    used_at: float


def prune_cache(folder: Path, *, most_bytes: int, now: float) -> int:
    """Delete what was used longest ago until `folder` holds at most `most_bytes`; how many bytes went.

    What was used within the last hour stays, even over the bound. `now` in seconds since 1970.
    """
    units = sorted(_find_units(folder), key=lambda unit: unit.used_at)
    over = sum(unit.bytes for unit in units) - most_bytes
    gone = 0
    for unit in units:
        if gone >= over or unit.used_at > now - _SPARED_S:
            break
        _delete_files(unit.path)
        gone += unit.bytes
    if gone:
        logger.info("compiled blocks: %d bytes of %s were used longest ago and went", gone, folder)
    return gone


def _find_units(folder: Path) -> list[_Unit]:
    units = []
    for path in [folder, *(found for found in folder.rglob("*") if found.is_dir() and not found.is_symlink())]:
        try:
            stats = [file.stat() for file in path.iterdir() if file.is_file()]
        except FileNotFoundError:  # another worker prunes too
            continue
        if stats:
            used_at = max(max(stat.st_atime, stat.st_mtime) for stat in stats)
            units.append(_Unit(path, sum(stat.st_size for stat in stats), used_at))
    return units


def _delete_files(folder: Path) -> None:
    """The folder with its files; where it has folders too, they are units of their own and stay."""
    if not any(child.is_dir() for child in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for child in folder.iterdir():
        if child.is_file():
            child.unlink(missing_ok=True)
