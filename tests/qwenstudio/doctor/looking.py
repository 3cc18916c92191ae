"""Running single checks, and programs that answer as a test wants."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from generation.enums import LaneState, ReleaseMode, ReleaseState
from generation.models import Lane, Release
from qwenstudio.doctor import CHECKS, Finding


def look(*names: str) -> list[Finding]:
    """The findings of these checks."""
    return [finding for name in names for finding in CHECKS[name].find()]


def line(name: str, *checks: str) -> Finding:
    """The one finding with this name."""
    (found,) = [finding for finding in look(*checks) if finding.name == name]
    return found


def write_program(folder: Path, name: str, script: str) -> None:
    """A program for `PATH`: a shell script."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def fresh() -> None:
    Lane.objects.update(release=None, detail="", changed_at=timezone.now())
    Release.objects.all().delete()
    Lane.objects.filter(name="green").update(state=LaneState.STOPPED)
    Lane.objects.filter(name="blue").update(state=LaneState.SERVING)


def put(lane: str, state: LaneState, *, mode: ReleaseMode = ReleaseMode.SIDE_BY_SIDE, minutes: float = 0) -> None:
    """A lane's state, since so many minutes."""
    release = Release.objects.create(name="2.0", lane=lane, mode=mode, state=ReleaseState.TRYING)
    since = timezone.now() - timedelta(minutes=minutes)
    Lane.objects.filter(name=lane).update(state=state, release=release, changed_at=since)
