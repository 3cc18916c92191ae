"""Lists of files: one JSON object a line, in an order by which several lists are read side by side.

So a backup of a million pictures needs the memory of one.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from qwenstudio.backup.errors import BackupError


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path (in `STUDIO_MEDIA`, or absolute for models), size, time and, where it is known, SHA-256."""

    path: str
    bytes: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    said: str | None = None
    """While it is to be copied: the SHA-256 that its row says, empty where the row knows none, None without a row."""


def order(path: str) -> str:
    """The key of the lists' order: a folder's files stand together, as a walk meets them.

    The database sorts by the same (`database.py`).
    """
    return path.replace("/", "\x01")


def read_list(path: Path) -> Iterator[Entry]:
    """The entries of a list; raises `BackupError` where it is damaged."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield Entry(**json.loads(line))
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise BackupError(f"{path} is damaged: {error}") from error


def line_of(entry: Entry) -> bytes:
    """An entry as it stands in a list."""
    filled = {name: value for name, value in asdict(entry).items() if value or (name == "said" and value == "")}
    return json.dumps(filled).encode() + b"\n"  # a name that is no UTF-8 survives as escapes


def side_by_side(*lists: Iterable[Entry]) -> Iterator[tuple[str, list[Entry | None]]]:
    """Each path with its entry of every list, None where a list lacks it. The lists are in `order`."""

    def keyed(number: int, entries: Iterable[Entry]) -> Iterator[tuple[str, int, Entry]]:
        return ((order(entry.path), number, entry) for entry in entries)

    merged = heapq.merge(*(keyed(number, entries) for number, entries in enumerate(lists)), key=lambda found: found[:2])
    by_path: Callable[[tuple[str, int, Entry]], str] = lambda found: found[0]  # noqa: E731
    for _, group in itertools.groupby(merged, key=by_path):
        row: list[Entry | None] = [None] * len(lists)
        path = ""
        for _, number, entry in group:
            row[number], path = entry, entry.path
        yield path, row


def is_safe(path: str) -> bool:
    """Whether it stays inside the folder that it is relative to."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and "\x00" not in path
