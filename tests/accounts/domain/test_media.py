"""Whose the files are that a command of root's writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from accounts.domain.media import media_path, write_atomic

ANOTHER = 61_234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_belongs_to_the_account_of_the_media_folder(media: Path) -> None:
    os.chown(media, ANOTHER, ANOTHER)
    media.chmod(0o2750)
    write_atomic("comparisons/ab/picture.png", b"picture")
    for path in ("comparisons", "comparisons/ab", "comparisons/ab/picture.png"):
        found = media_path(path).stat()
        assert (found.st_uid, found.st_gid) == (ANOTHER, ANOTHER), path  # the group is the folder's, as by its bit
    assert media_path("comparisons/ab/picture.png").stat().st_mode & 0o007 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_roots_own_media_folder_stays_roots(media: Path) -> None:
    write_atomic("comparisons/ab/picture.png", b"picture")
    assert media_path("comparisons/ab/picture.png").stat().st_uid == 0
