"""Small files of state that are never half written."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def make_private_folder(path: Path) -> Path:
    """Make `path`; a folder that we make is for us alone (0700), one that exists keeps its mode."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_private(path: Path, content: str) -> None:
    """Write `content` under a temporary name with mode 0600, sync it, rename it into place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; an absent or unreadable file counts as empty (state can be found anew)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as `write_private` does."""
    write_private(path, json.dumps(content, indent=1) + "\n")
