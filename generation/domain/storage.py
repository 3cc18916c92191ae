"""Files of pictures under `STUDIO_MEDIA`: written whole or not at all, readable by this account only.

Layout: `<tenant>/<member>/<yyyy-mm>/<generation>-<index>-<fence>.<ext>` with the thumbnail beside it, so that one
person's history is one folder. The fence in the name keeps two owners of one row from writing the same file.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings

from accounts.domain.media import delete_files, media_path
from accounts.domain.sql import fetch_all

logger = logging.getLogger(__name__)

EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
OLD_ENOUGH_S = 3600  # a younger file without a row may belong to a finish that is under way
_BATCH = 1000
_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_OURS = re.compile(rf"{_UUID}/(?:{_UUID}|nobody)/\d{{4}}-\d\d/{_UUID}-\d+-\d+(?:-thumb)?\.(?:png|jpg|webp)")
LORA_FILE = re.compile(r"loras/[0-9a-f]{2}/[0-9a-f]{64}\.safetensors")
_INPUT = re.compile(rf"{_UUID}/inputs/{_UUID}\.png")
_ZIP = re.compile(rf"{_UUID}/zips/{_UUID}/pictures\.zip")
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


class Owned(Protocol):
    """What names a row's files: a `ClaimedRow`."""

    @property
    def id(self) -> UUID: ...
    @property
    def tenant(self) -> UUID: ...
    @property
    def user(self) -> UUID | None: ...
    @property
    def fence(self) -> int: ...
    @property
    def created_at(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class ImagePaths:
    """Relative to `STUDIO_MEDIA`, with forward slashes."""

    file: str
    thumbnail: str


@dataclass(frozen=True, slots=True)
class JanitorReport:
    """`orphans`: files without a row (deleted if asked to); `missing`: files that a row names and that are gone."""

    checked: int
    orphans: tuple[str, ...]
    missing: tuple[str, ...]


def image_paths(*, row: Owned, index: int, fmt: str) -> ImagePaths:
    """Where the picture of this index goes under this fence. Raises ValueError for a format that we do not write."""
    if fmt not in EXTENSIONS:
        raise ValueError(f"format must be one of {', '.join(EXTENSIONS)}, got {fmt!r}")
    folder = f"{row.tenant}/{row.user or 'nobody'}/{row.created_at:%Y-%m}"
    name = f"{folder}/{row.id}-{index}-{row.fence}"
    return ImagePaths(file=f"{name}.{EXTENSIONS[fmt]}", thumbnail=f"{name}-thumb.webp")


def janitor(*, older_than_s: float = OLD_ENOUGH_S, delete: bool = True) -> JanitorReport:
    """Compare the folder with the rows, both ways. Runs under the worker's role, which sees every tenant's images.

    Only names that we could have written are ever deleted.
    """
    files = set(_list_files(older_than_s=older_than_s))
    orphans: list[str] = []
    for batch in _batches(sorted(files)):
        known = {row["path"] for row in fetch_all(_KNOWN_SQL, paths=batch)}
        orphans += [path for path in batch if path not in known]
    checked, missing = 0, []
    for page in (_PAGE_SQL, _INPUTS_SQL):
        last = UUID(int=0)
        while rows := fetch_all(page, after=last, limit=_BATCH):
            last, checked = rows[-1]["id"], checked + len(rows)
            missing += [path for row in rows for path in row["paths"] if not media_path(path).is_file()]
    if missing:
        logger.error("%d files of pictures are not there, the first: %s", len(missing), missing[0])
    if delete and orphans:
        logger.warning("deleting %d files without a row", len(orphans))
        delete_files(orphans)
    return JanitorReport(checked=checked, orphans=tuple(orphans), missing=tuple(missing))


_KNOWN_SQL = """
SELECT file AS path FROM generation_image WHERE file = ANY(%(paths)s)
UNION SELECT thumbnail FROM generation_image WHERE thumbnail = ANY(%(paths)s)
UNION SELECT file FROM generation_inputfile WHERE file = ANY(%(paths)s)
UNION SELECT file FROM generation_selection WHERE file = ANY(%(paths)s) AND status = 'ready'
UNION SELECT made.path
        FROM (SELECT s.tenant_id || '/zips/' || s.id || '/pictures.zip' AS path
                FROM generation_selection s JOIN accounts_errand e ON e.ref = s.id AND e.failed_at IS NULL
               WHERE s.act = 'zip' AND s.status IN ('waiting', 'running')) AS made
       WHERE made.path = ANY(%(paths)s)
UNION SELECT path FROM unnest(%(paths)s::text[]) AS path
       WHERE path LIKE 'loras/%%' AND EXISTS (SELECT FROM generation_lora WHERE sha256 = substr(path, 10, 64))
"""
_PAGE_SQL = """
SELECT id, ARRAY[file, thumbnail] AS paths FROM generation_image WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
"""
_INPUTS_SQL = """
SELECT id, ARRAY[file] AS paths FROM generation_inputfile WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
"""


def _list_files(*, older_than_s: float) -> Iterator[str]:
    root, now = Path(settings.STUDIO_MEDIA), time.time()
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            kinds = (_OURS, _INPUT, LORA_FILE, _ZIP)
            if not (any(kind.fullmatch(relative) for kind in kinds) or _TEMPORARY.fullmatch(name)):
                continue
            try:
                old = now - path.stat().st_mtime >= older_than_s
            except FileNotFoundError:
                continue
            if old:
                yield relative


def _batches(paths: list[str]) -> Iterator[list[str]]:
    return (paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH))
