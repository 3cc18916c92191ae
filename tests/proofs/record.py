"""Writes what a proof found to `docs/proofs/<name>.json`, and tells which of these files are older than their code.

A module `tests/proofs/<name>.py` measures and then calls `write_record(name, proves=[…], counts={…})`. `proves` are the
files and folders whose change makes the figures old; their digests stand in the file, so a checkout's dates do not
matter.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "proofs"
PACKAGES = ("torch", "diffusers", "transformers", "django", "psycopg", "rq")
SKIPPED = {"__pycache__", ".mypy_cache"}


def write_record(
    name: str,
    *,
    proves: Sequence[str],
    counts: Mapping[str, Any],
    seconds: float | None = None,
    folder: Path = FOLDER,
    root: Path = ROOT,
) -> Path:
    """Write one record; `counts` are the raw numbers, never a verdict alone. Returns the file."""
    record = {
        "name": name,
        "commit": commit_of(root),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "seconds": None if seconds is None else round(seconds, 1),
        "counts": dict(counts),
        "sources": digest_sources(proves, root=root),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def digest_sources(proves: Sequence[str], *, root: Path = ROOT) -> dict[str, str]:
    """SHA-256 of each named file, and one over all files of each named folder; raises on a path that is not there."""
    found = {}
    for name in proves:
        digest = hashlib.sha256()
        for file in files_of(root / name):
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
        found[name] = digest.hexdigest()
    return found


def files_of(path: Path) -> Iterator[Path]:
    """The file itself, or a folder's files in a fixed order."""
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file() and not SKIPPED & set(file.parts))
    else:
        raise FileNotFoundError(f"a proof names {path}, which does not exist")


def find_stale(*, folder: Path = FOLDER, root: Path = ROOT) -> dict[str, list[str]]:
    """Records whose sources have changed since, each with the paths that did (or are gone)."""
    stale: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.json")):
        for name, digest in json.loads(file.read_text(encoding="utf-8"))["sources"].items():
            if not (root / name).exists() or digest_sources([name], root=root)[name] != digest:
                stale.setdefault(file.stem, []).append(name)
    return stale


def commit_of(root: Path) -> str:
    """The checkout's commit, with `+` where files differ from it; "unknown" without git."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
        except FileNotFoundError:
            return ""
        return done.stdout.strip()

    return (git("rev-parse", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "-uno") else "")


def describe_machine() -> dict[str, Any]:
    """What the figures depend on; no host name."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "packages": versions,
    }


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
