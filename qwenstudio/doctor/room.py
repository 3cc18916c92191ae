"""Room on the disks and in the memory of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from qwenstudio import health
from qwenstudio.doctor.finding import GIB, Finding
from qwenstudio.settings import database_urls
from qwenstudio.units.layout import Layout

FREE_LOW = 10 * GIB
"""Bytes: some thousand pictures of 2,048 x 2,048 with their thumbnails."""
FILES_LOW = 0.05
"""Of a disk's files: a disk without one more is full, whatever bytes it has."""
MEMORY_LOW = 0.1
MEMINFO = Path("/proc/meminfo")
LOCAL = ("", "localhost", "127.0.0.1", "::1")


def check_storage() -> Iterator[Finding]:
    """Images can be written."""
    if reason := health.check_storage():
        yield Finding("fail", "storage", f"{settings.STUDIO_MEDIA}: {reason}", "give the studio's account this folder")
    else:
        yield Finding("ok", "storage", f"{settings.STUDIO_MEDIA} takes files")


def check_disks() -> Iterator[Finding]:
    """There is room for more: pictures, the database where it is on this machine, backups."""
    disks: dict[int, tuple[list[str], Path]] = {}
    for title, path in find_folders().items():
        try:
            device = path.stat().st_dev
        except OSError:  # a folder that is not there, or that this account may not see
            continue
        disks.setdefault(device, ([], path))[0].append(title)
    for titles, path in disks.values():
        yield _check_disk(f"disk of {', '.join(titles)}", path)


def find_folders() -> dict[str, Path]:
    """What each folder holds, and where it is."""
    found = {"media": settings.STUDIO_MEDIA}
    if _database_is_here():
        system = Layout.here().root / "var" / "lib" / "postgresql"
        embedded = settings.STUDIO_VAR / "postgres"
        found["database"] = embedded if embedded.exists() else system
    return found | {"backups": Layout.here().backups, "logs": Layout.here().root / "var" / "log"}


def _database_is_here() -> bool:
    try:
        host = str(conninfo_to_dict(database_urls["web"]).get("host") or "")
    except ProgrammingError:
        return False
    return bool(database_urls["web"]) and (host in LOCAL or host.startswith("/"))


def room_of(path: Path) -> int | None:
    """Bytes that the studio may still write there; None where the folder is not there, or not for us to see."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _check_disk(name: str, path: Path) -> Finding:
    disk = os.statvfs(path)
    free, files = disk.f_bavail * disk.f_frsize, disk.f_favail / disk.f_files if disk.f_files else 1.0
    text = f"{path}, {free / GIB:,.0f} GiB free"
    if free < FREE_LOW:
        return Finding("warn", name, text, "make room: requests fail when the disk is full")
    if files < FILES_LOW:
        return Finding("warn", name, f"{text}, and {files:.0%} of its files", "make room: delete small files (df -i)")
    return Finding("ok", name, text)


def check_memory() -> Iterator[Finding]:
    """Main memory, as Linux counts it."""
    try:
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return  # no Linux
    values = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest}
    total, available = values.get("MemTotal", 0), values.get("MemAvailable", 0)
    if not total:
        return
    text = f"{available / GIB:,.1f} of {total / GIB:,.1f} GiB may be had"
    if available < MEMORY_LOW * total:
        remedy = "see who takes it (ps aux --sort=-rss | head): the kernel ends a process when there is none left"
        yield Finding("warn", "memory", text, remedy)
    else:
        yield Finding("ok", "memory", text)
