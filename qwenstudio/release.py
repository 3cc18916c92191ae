"""The name of the running release, for logs, receipts and the lane table."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def release_name(root: Path) -> str:
    """`STUDIO_RELEASE`, else the file `RELEASE` that an install writes, else the checkout's commit, else `unknown`."""
    if name := os.environ.get("STUDIO_RELEASE", ""):
        return name
    file = root / "RELEASE"
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    if not (root / ".git").exists():
        return "unknown"
    try:
        # root installs from a checkout that is somebody else's
        line = ["git", "-c", f"safe.directory={root}", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(line, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
