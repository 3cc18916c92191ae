"""What this machine is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from installer.plan import InstallError


@dataclass(frozen=True)
class Distribution:
    """What one distribution calls the things we need."""

    python: str
    redis: str
    """The package; empty where it is older than 6.2: then Valkey comes from the wheel that `make run` uses."""


DISTRIBUTIONS = {
    ("ubuntu", "22.04"): Distribution(python="python3.11", redis=""),  # python3.11 is in universe
    ("ubuntu", "24.04"): Distribution(python="python3.12", redis="redis-server"),
    ("debian", "12"): Distribution(python="python3.11", redis="redis-server"),
    ("debian", "13"): Distribution(python="python3.13", redis="valkey-server"),
}


def read_distribution(file: Path = Path("/etc/os-release")) -> Distribution:
    """The entry of this machine; raises `InstallError` for one that was never tried."""
    values = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            values[name] = value.strip().strip('"')
    key = (values.get("ID", ""), values.get("VERSION_ID", ""))
    if key not in DISTRIBUTIONS:
        known = ", ".join(f"{name.capitalize()} {version}" for name, version in DISTRIBUTIONS)
        raise InstallError(f"{' '.join(key).strip() or 'this system'} is not one of those that are known: {known}")
    return DISTRIBUTIONS[key]


def packages(distribution: Distribution, *, database: bool, redis: bool) -> list[str]:
    """What apt has to bring."""
    wanted = [distribution.python, f"{distribution.python}-venv", "nginx", "certbot", "logrotate"]
    # The client alone dumps a server elsewhere; it must not be older than that server.
    wanted += ["postgresql", "postgresql-client"] if database else ["postgresql-client"]
    wanted += [distribution.redis] if redis and distribution.redis else []
    return wanted


def is_installed(package: str) -> bool:
    """Whether dpkg knows it as installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout == "install ok installed"


def count_gpus() -> int:
    """NVIDIA's GPUs, by its own tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    done = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


def operator_address(process: int | None = None, folder: Path = Path("/proc")) -> str:
    """Where whoever types this came from by SSH; empty at the machine itself. sudo hides it: a parent knows."""
    seen = process or os.getpid()
    while seen > 1:
        try:
            words = (folder / str(seen) / "environ").read_bytes().split(b"\0")
            parent = (folder / str(seen) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            return ""
        found = next((word for word in words if word.startswith(b"SSH_CONNECTION=")), b"")
        if found:
            return found.partition(b"=")[2].split(b" ")[0].decode(errors="replace")
        seen = int(parent)
    return ""


def count_cores() -> int:
    """Cores that we may use."""
    return len(os.sched_getaffinity(0))


def call(
    line: Sequence[str], *, given: str = "", environment: dict[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run a program and return what it printed; raises `InstallError` with its last words."""
    done = subprocess.run(
        list(line), input=given, capture_output=True, text=True, env=environment, cwd=folder, errors="replace"
    )
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise InstallError(f"`{' '.join(line[:4])}` ended with {done.returncode}: " + "\n".join(words[-5:]))
    return done.stdout
