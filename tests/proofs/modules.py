"""Runs the modules of a folder that are programs, one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUARD = 'if __name__ == "__main__":'
NO_FIGURES = {"__main__", "modules", "stale"}


def program_names(folder: Path) -> list[str]:
    """The modules that can be run and measure something; a folder of several is run by its `__main__.py`."""
    single = {
        file.stem
        for file in folder.glob("*.py")
        if file.stem not in NO_FIGURES and GUARD in file.read_text(encoding="utf-8")
    }
    return sorted(single | {file.parent.name for file in folder.glob("*/__main__.py")})


def run_programs(package: str, asked: list[str]) -> int:
    """Run those asked for, or all; the exit code is the number that failed (2 for a name that does not exist)."""
    known = program_names(ROOT / package.replace(".", "/"))
    if unknown := sorted(set(asked) - set(known)):
        print(f"No such name: {', '.join(unknown)}. There are: {', '.join(known)}")
        return 2
    failed = []
    for name in asked or known:
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        code = subprocess.run([sys.executable, "-m", f"{package}.{name}"], cwd=ROOT).returncode
        print(f"== {name}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - begin:.0f} s", flush=True)
        failed += [name] if code else []
    if failed:
        print(f"Failed: {', '.join(failed)}")
    return len(failed)
