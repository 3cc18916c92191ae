"""Running single checks, and programs that answer as a test wants."""

from __future__ import annotations

from pathlib import Path

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
