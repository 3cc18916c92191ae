"""What is kept of comparisons: pictures by their SHA-256, references, and for how long.

References are no table of their own: they are the pictures of the comparison whose release was promoted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.domain.media import delete_files, media_path, write_atomic
from generation.models import ComparedCase, Comparison, Release
from generation.releases.compare.judge import NO_OLD
from generation.releases.compare.paths import FOLDER, picture_path
from generation.releases.compare.side import Drawn
from generation.releases.compare.wanted import Wanted

logger = logging.getLogger(__name__)

KEPT = 30  # comparisons, the newest
KEPT_REFERENCES = 10  # of those that were promoted, however old
OLD_ENOUGH_S = 3600  # a younger file may belong to a comparison that is under way


def keep_picture(drawn: Drawn) -> str:
    """Write a picture under its hash, where it may lie already; the hash, or nothing where there is no picture.

    Raises OSError.
    """
    if not drawn.data:
        return ""
    path = picture_path(drawn.sha256)
    if not media_path(path).is_file():
        write_atomic(path, drawn.data)
    return drawn.sha256


def find_reference(wanted: Wanted, *, release: str) -> Drawn:
    """The picture of the newest comparison that was promoted, those of the release that serves first.

    It counts only where the case asks for the very same as then, and while its file is as it was written.
    """
    row = _newest_reference(_references(wanted).filter(input_sha256=wanted.input_sha256), release)
    data = _read_kept(row.new_sha256, slug=wanted.slug) if row else b""
    return Drawn(data=data, run_ms=row.new_run_ms, hardware=row.hardware) if row and data else Drawn(error=NO_OLD)


def find_start(wanted: Wanted, *, release: str) -> bytes:
    """The picture that a case's reference was drawn from; nothing where there is none."""
    row = _newest_reference(_references(wanted).exclude(input_sha256=""), release)
    return _read_kept(row.input_sha256, slug=wanted.slug) if row else b""


def has_references() -> bool:
    """Whether any comparison was promoted."""
    return Comparison.objects.filter(promoted_at__isnull=False).exists()


def take_as_references(release: Release) -> None:
    """In the transaction of a promotion: what was drawn of this release last is what the next is compared with.

    A comparison of some cases only does not push the others out: each case has a reference of its own.
    """
    drawn = Comparison.objects.filter(release=release, finished_at__isnull=False)
    newest = drawn.order_by("-started_at", "-id").values("pk")[:1]
    whole = drawn.filter(whole=True).order_by("-started_at", "-id").values("pk")[:1]
    wanted = Q(pk__in=newest) | Q(pk__in=whole)
    Comparison.objects.filter(wanted, promoted_at__isnull=True).update(promoted_at=timezone.now())


def prune() -> int:
    """Delete old comparisons, and pictures that no comparison names; how many pictures."""
    kept = {*_newest(Comparison.objects.all(), KEPT)}
    kept |= {*_newest(Comparison.objects.filter(promoted_at__isnull=False), KEPT_REFERENCES)}
    Comparison.objects.exclude(pk__in=kept).delete()
    files = dict(_old_files())
    named: set[str] = set()
    for row in ComparedCase.objects.values_list("new_sha256", "old_sha256", "input_sha256"):
        named.update(row)
    return delete_files(path for sha256, path in files.items() if sha256 not in named)


def _references(wanted: Wanted) -> QuerySet[ComparedCase]:
    return ComparedCase.objects.filter(
        slug=wanted.slug, params_sha256=wanted.params_sha256, comparison__promoted_at__isnull=False
    ).exclude(new_sha256="")


def _newest_reference(rows: QuerySet[ComparedCase], release: str) -> ComparedCase | None:
    newest = rows.order_by("-comparison__promoted_at")
    return newest.filter(comparison__release_name=release).first() or newest.first()


def _read_kept(sha256: str, *, slug: str) -> bytes:
    """A kept picture; nothing where its file is gone or another one."""
    try:
        data = media_path(picture_path(sha256)).read_bytes()
    except OSError:
        logger.error("the reference of %s is not there: %s", slug, picture_path(sha256))
        return b""
    return data if hashlib.sha256(data).hexdigest() == sha256 else b""


def _newest(rows: QuerySet[Comparison], most: int) -> list[UUID]:
    return list(rows.order_by("-started_at", "-id").values_list("pk", flat=True)[:most])


def _old_files() -> Iterator[tuple[str, str]]:
    root, now = Path(settings.STUDIO_MEDIA), time.time()
    for folder, _, names in os.walk(root / FOLDER):
        for name in names:
            file = Path(folder, name)
            sha256 = file.name.partition(".")[0]
            if len(sha256) == 64 and now - file.stat().st_mtime >= OLD_ENOUGH_S:
                yield sha256, file.relative_to(root).as_posix()
