"""Files: whole or not at all, private, and none without its row for long."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.media import delete_files, write_atomic
from accounts.tenancy import in_tenant
from generation.domain.finish import StoredImage, finish_slice
from generation.domain.remove import remove_generation
from generation.domain.storage import image_paths, janitor
from tests.factories import Person
from tests.generation.domain.desk import Look, claim, draw, submit

AsWorker = Callable[[], AbstractContextManager[None]]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_written_private_and_whole(media: Path) -> None:
    write_atomic("t/m/2026-11/x.png", b"data")
    assert (media / "t/m/2026-11/x.png").read_bytes() == b"data"
    assert mode_of(media / "t/m/2026-11/x.png") == 0o600 and mode_of(media / "t/m") == 0o700
    assert [path.name for path in (media / "t/m/2026-11").iterdir()] == ["x.png"]


def test_where_nginx_sends_files_its_group_may_read_them(media: Path, settings: Any) -> None:
    settings.STUDIO_ACCEL_PREFIX = "/protected/"
    media.chmod(0o2750)  # what is made inside gets the folder's group
    before = os.umask(0o027)
    try:
        write_atomic("t/m/2026-11/x.png", b"data")
    finally:
        os.umask(before)
    assert mode_of(media / "t/m/2026-11/x.png") == 0o640 and mode_of(media / "t/m/2026-11") == 0o2750


def test_a_failed_write_leaves_nothing(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (media / "t").mkdir(mode=0o700)
    with pytest.raises(OSError, match="No space"):
        write_atomic("t/x.png", b"data")
    assert list((media / "t").iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\x00b", ""])
def test_only_under_the_media_folder(media: Path, path: str) -> None:
    with pytest.raises(ValueError, match="STUDIO_MEDIA"):
        write_atomic(path, b"")
    with pytest.raises(ValueError, match="STUDIO_MEDIA"):
        delete_files([path])


def draw_files(person: Person, as_worker: AsWorker) -> list[StoredImage]:
    submit(person.caller)
    with as_worker():
        taken = claim()
        assert taken is not None
        row = taken.rows[0]
        paths = image_paths(row=row, index=0, fmt="jpeg")
        assert paths.file == f"{row.tenant}/{row.user}/{row.created_at:%Y-%m}/{row.id}-0-{row.fence}.jpg"
        write_atomic(paths.file, b"picture")
        write_atomic(paths.thumbnail, b"small")
        [image] = draw(row)
        from dataclasses import replace

        stored = [replace(image, file=paths.file, thumbnail=paths.thumbnail, format="jpeg")]
        assert finish_slice(row=row, images=stored, run_ms=60) == "finished"
    return stored


def test_removed_files_go_by_an_errand(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    [image] = draw_files(alice, as_worker)
    [(id,)] = look("SELECT id FROM generation_generation")
    with in_tenant(alice.tenant.pk):
        remove_generation(id)
    assert (media / image.file).exists()
    with as_worker():
        claimed = claim_errand("test")
        assert claimed is not None and run_errand(claimed) == "done"
    assert not (media / image.file).exists() and not (media / image.thumbnail).exists()


def test_janitor_both_ways(alice: Person, media: Path, as_worker: AsWorker) -> None:
    [image] = draw_files(alice, as_worker)
    orphan = image.file.replace("-0-", "-1-")
    write_atomic(orphan, b"from a zombie")
    foreign = media / "README"
    foreign.write_text("not ours")
    (media / image.thumbnail).unlink()
    with as_worker():
        assert janitor().orphans == (), "a young file may belong to a finish under way"
        report = janitor(older_than_s=0, delete=False)
        assert (report.orphans, report.missing, report.checked) == ((orphan,), (image.thumbnail,), 1)
        assert (media / orphan).exists()
        janitor(older_than_s=0)
    assert not (media / orphan).exists() and (media / image.file).exists() and foreign.exists()
