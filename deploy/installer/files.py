"""Files, folders and links as steps: done when they are there as they should be, never half written."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from installer.plan import Step
from installer.site import Site


def folder(site: Site, path: Path, *, mode: int = 0o755, user: str = "root", group: str = "root") -> Step:
    """A folder with a mode and an owner."""

    def is_done() -> bool:
        return (
            path.is_dir() and stat.S_IMODE(path.stat().st_mode) == mode and site.is_owned(path, user=user, group=group)
        )

    def do() -> None:
        path.mkdir(parents=True, exist_ok=True)
        site.own(path, user=user, group=group)
        path.chmod(mode)  # last: chown takes the group bit away

    return Step(f"folder {path}", is_done, do)


def file(
    site: Site,
    path: Path,
    content: str | Callable[[], str],
    *,
    mode: int = 0o644,
    group: str = "root",
    keep: bool = False,
) -> Step:
    """A file with this content, root's own; `keep`: one that is there may say something else."""

    def text() -> str:
        return content if isinstance(content, str) else content()

    def is_done() -> bool:
        right = path.is_file() and stat.S_IMODE(path.stat().st_mode) == mode and site.is_owned(path, group=group)
        return right and (keep or path.read_text(encoding="utf-8") == text())

    def do() -> None:
        kept = keep and path.is_file()
        write(site, path, path.read_text(encoding="utf-8") if kept else text(), mode=mode, group=group)

    return Step(f"file {path}", is_done, do)


def write(site: Site, path: Path, content: str, *, mode: int, group: str = "root") -> None:
    """Write under a temporary name with the right mode from the first moment, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        site.own(temporary, group=group)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def link(path: Path, target: str, *, keep: bool = False) -> Step:
    """A symbolic link; `keep`: one that is there may lead elsewhere."""

    def is_done() -> bool:
        return path.is_symlink() and (keep or os.readlink(path) == target)

    def do() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.symlink_to(target)
        temporary.replace(path)

    return Step(f"link {path} -> {target}", is_done, do)
