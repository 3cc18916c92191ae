"""Where an installed studio keeps things; `STUDIO_ROOT` is another root than `/` for an installation in a folder."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The root of the installation."""
    return Path(os.environ.get("STUDIO_ROOT") or "/")


def configuration() -> Path:
    """Settings, secrets, certificates."""
    return root() / "etc" / "qwenstudio"


def backups() -> Path:
    """The nightly backups."""
    return root() / "var" / "backups" / "qwenstudio"
