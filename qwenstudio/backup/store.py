"""The store of files under their SHA-256."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qwenstudio.backup.disk import copy_hashing, hash_file, make_folder, open_new, sync_folder

_HASH = re.compile(r"[0-9a-f]{64}")
ASIDE = ".damaged"


@dataclass(frozen=True)
class Stored:
    """A file that is in the store now."""

    sha256: str
    bytes: int
    new: bool


class Store:
    """Files of `root`, each written whole under its hash, never changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._touched: set[Path] = set()

    def path(self, digest: str) -> Path:
        """Where a file of this hash lies; raises ValueError for what is no hash."""
        if not _HASH.fullmatch(digest):
            raise ValueError(f"no SHA-256: {digest[:80]!r}")
        return self.root / digest[:2] / digest

    def has(self, digest: str, size: int) -> bool:
        """Whether it is there. Its name was given after all of it was on the disk; `verify` reads it back."""
        if not _HASH.fullmatch(digest):
            return False
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def add(self, source: Path) -> Stored:
        """Copy a file in, synced. Raises OSError; then nothing is left behind."""
        with open_new(self.root) as (out, temporary):
            digest, size = copy_hashing(source, out)
        if self.has(digest, size):
            temporary.unlink()
            return Stored(digest, size, new=False)
        target = self.path(digest)
        make_folder(target.parent)
        temporary.rename(target)
        self._touched.add(target.parent)
        return Stored(digest, size, new=True)

    def sync(self) -> None:
        """Put the names of what was added on the disk."""
        for folder in self._touched:
            sync_folder(folder)
        self._touched.clear()

    def is_whole(self, digest: str) -> bool:
        """Read a file back; whether it is what its name says."""
        try:
            return hash_file(self.path(digest))[0] == digest
        except (OSError, ValueError):
            return False

    def set_aside(self, digest: str) -> bool:
        """Take the name from a damaged file, so that the next backup stores a good one; whether that could be done."""
        try:
            path = self.path(digest)
            path.rename(path.with_name(path.name + ASIDE))
        except OSError:
            return False
        return True

    def clear_unfinished(self) -> None:
        """Remove what a killed run had under way."""
        for left in self.root.glob(".*.tmp"):
            left.unlink(missing_ok=True)

    def collect(self, wanted: set[bytes]) -> tuple[int, int]:
        """Remove whatever is not wanted (hashes as bytes); returns how many files and bytes went."""
        files = size = 0
        for path in self._all():
            if _HASH.fullmatch(path.name) and bytes.fromhex(path.name) in wanted:
                continue
            size += path.stat().st_size
            path.unlink()
            files += 1
        return files, size

    def _all(self) -> Iterator[Path]:
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir():
                yield from folder.iterdir()
