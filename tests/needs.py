"""Programs that some tests use and a machine may lack: nginx, Chromium, systemd-analyze, certbot and an authority
to try it on, Node with OpenAI's client, and axe-core (which `make test` installs where npm is).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

INSTALL = {
    "nginx": "apt-get install nginx-light  (macOS: brew install nginx)",
    "chromium": "apt-get install chromium  (macOS: brew install --cask chromium)",
    "certbot": "apt-get install certbot",
    "pebble": "apt-get install pebble",
    "systemd-analyze": "apt-get install systemd",
    "openai-node": "apt-get install nodejs npm  (then npm ci --prefix tests/clients)",
    "axe-core": "apt-get install nodejs npm  (then npm ci --prefix tests/clients)",
}
MARKERS = {
    "needs_nginx": "nginx",
    "needs_chromium": "chromium",
    "needs_certbot": "certbot",
    "needs_pebble": "pebble",
    "needs_systemd": "systemd-analyze",
    "needs_openai_node": "openai-node",
    "needs_axe": "axe-core",
}
BY_NPM = ("openai-node", "axe-core")  # what `npm ci` brings
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CLIENTS = Path(__file__).resolve().parent / "clients"
MACOS_CHROMIUM = Path("/Applications/Chromium.app/Contents/MacOS/Chromium")


def find_nginx() -> str | None:
    """The nginx of this machine (Debian keeps it where ordinary users' PATH does not look)."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def find_chromium() -> str | None:
    """The Chromium of this machine, or the program that `CHROMIUM` names."""
    if named := os.environ.get("CHROMIUM"):
        return named
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return found or (str(MACOS_CHROMIUM) if MACOS_CHROMIUM.exists() else None)


def find_node() -> str | None:
    """Node, where it finds OpenAI's client too."""
    return shutil.which("node") if (CLIENTS / "node_modules" / "openai").is_dir() else None


def find_axe() -> str | None:
    """axe-core, which npm brings beside it; it runs in the browser."""
    found = CLIENTS / "node_modules" / "axe-core" / "axe.min.js"
    return str(found) if found.is_file() else None


FINDERS = {
    "nginx": find_nginx,
    "chromium": find_chromium,
    "certbot": lambda: shutil.which("certbot"),
    "pebble": lambda: shutil.which("pebble") and shutil.which("pebble-challtestsrv"),
    "systemd-analyze": lambda: shutil.which("systemd-analyze"),
    "openai-node": find_node,
    "axe-core": find_axe,
}


def missing_programs() -> list[str]:
    """Those that this machine lacks."""
    return [name for name, find in FINDERS.items() if find() is None]


def missing_packages() -> list[str]:
    """What Debian and Ubuntu call those."""
    # What npm brings is no package: `make test` fetches it where npm is.
    lacking = [name for name in missing_programs() if name not in BY_NPM or shutil.which("npm") is None]
    lines = (INSTALL[name].partition("  (")[0] for name in lacking)
    return [word for line in lines for word in line.removeprefix("apt-get install ").split()]


def skip_missing(item: pytest.Item) -> None:
    """Skip a test whose program is missing; with STRICT=1 fail it."""
    for marker, program in MARKERS.items():
        if item.get_closest_marker(marker) is None or FINDERS[program]() is not None:
            continue
        text = f"{program} is missing; install it: {INSTALL[program]}"
        if os.environ.get("STRICT") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


def main() -> int:
    """Name what is missing and how to get it; with STRICT=1 that is an error. `--packages` is for .ci/run."""
    if "--packages" in sys.argv[1:]:
        print(*missing_packages())
        return 0
    strict = os.environ.get("STRICT") == "1"
    for program in missing_programs():
        print(f"{program} is missing, its tests {'fail' if strict else 'are skipped'}: {INSTALL[program]}")
    return int(strict and bool(missing_programs()))


if __name__ == "__main__":
    sys.exit(main())
