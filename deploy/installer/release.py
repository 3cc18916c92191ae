"""Steps: the release's folder, its virtual environment, the lanes' links."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from installer import files
from installer.machine import call
from installer.plan import InstallError, Step
from installer.site import CHECKOUT, Site

LEFT_OUT = {".git", ".venv", "var", "__pycache__", ".hypothesis", ".ruff_cache", ".mypy_cache"}


# The only Python 3.11 of Ubuntu 22.04 is 3.11.0rc1, which came before the limit to the digits of a number. torch names
# the functions of that limit when it is imported; 0 is what they say where there is none.
WITHOUT_LIMIT = (
    'import sys; hasattr(sys, "get_int_max_str_digits") or (setattr(sys, "get_int_max_str_digits", lambda: 0), '
    'setattr(sys, "set_int_max_str_digits", lambda maxdigits: None))\n'
)
COMPLETE = f"""
import pathlib, sys, sysconfig
if not hasattr(sys, "get_int_max_str_digits"):
    pathlib.Path(sysconfig.get_path("purelib"), "qwenstudio-python.pth").write_text({WITHOUT_LIMIT!r})
"""


def steps(site: Site) -> list[Step]:
    """In order."""
    found = [files.folder(site, path) for path in (site.layout.opt, site.layout.releases, site.layout.lanes)]
    found += [Step(f"release {site.release} into {site.folder}", lambda: has_release(site), lambda: copy_release(site))]
    found += [venv_step(site), bytecode_step(site)]
    # The lanes of a machine that runs already are changed by `studio release`, never here. Before that, an installation
    # that was cut off is finished with whatever release this is.
    found += [lane_step(site), files.link(site.layout.current, f"lanes/{site.lane}", keep=True)]
    return found


def lane_step(site: Site) -> Step:
    """The default lane's release; its units, should they run already, begin anew with it."""
    keep, lane = site.is_installed, site.lane
    made = files.link(site.layout.lane(lane), f"../releases/{site.release}", keep=keep)

    def do() -> None:
        if site.layout.is_machine and site.layout.lane(lane).is_symlink():
            # It looks imports up through it. Patterns, because before the units are there none of them has a name.
            call(["systemctl", "stop", f"studio-*@{lane}*", "studio-ticker*"])
        made.do()

    return Step(made.describe, made.is_done, do)


def has_release(site: Site) -> bool:
    """RELEASE is written last."""
    return (site.folder / "RELEASE").is_file()


def copy_release(site: Site) -> None:
    """The checkout's files as git knows them; they have their name when all of them are there."""
    new = site.folder.with_name(f".{site.release}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in tracked_files(CHECKOUT):
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target, follow_symlinks=False)
    (new / "RELEASE").write_text(f"{site.release}\n", encoding="utf-8")
    for path in [new, *new.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or (os.access(path, os.X_OK) and path.stat().st_mode & 0o100) else 0o644)
        site.own(path)
    shutil.rmtree(site.folder, ignore_errors=True)
    new.rename(site.folder)


def tracked_files(checkout: Path) -> list[str]:
    """What belongs to the project; without git everything but what a checkout gathers."""
    if (checkout / ".git").exists():
        line = ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout), "ls-files", "-z"]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            raise InstallError(f"git cannot list the files of {checkout}: {done.stderr.strip()}")
        return [name for name in done.stdout.split("\0") if name and os.path.lexists(checkout / name)]
    found = []
    for folder, folders, names in os.walk(checkout):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found += [str(Path(folder, name).relative_to(checkout)) for name in names if not name.endswith(".pyc")]
    return found


def venv_step(site: Site) -> Step:
    """Its packages are pinned, so the digest of the file says whether they are the right ones."""
    venv = site.folder / ".venv"
    if site.venv is not None:
        return files.link(venv, str(site.venv))
    mark = venv / ".installed"

    def digest() -> str:
        return hashlib.sha256((site.folder / "requirements.txt").read_bytes()).hexdigest()

    def is_done() -> bool:
        return mark.is_file() and mark.read_text(encoding="utf-8") == digest()

    def do() -> None:
        python = site.distribution.python if site.distribution else "python3"
        call([python, "-m", "venv", "--clear", str(venv)])
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        call([*pip, "-r", str(site.folder / "requirements.txt")])
        call([str(venv / "bin/python"), "-c", COMPLETE])
        mark.write_text(digest(), encoding="utf-8")

    return Step(f"virtual environment {venv} (some minutes)", is_done, do)


def bytecode_step(site: Site) -> Step:
    """Nothing may write into a release later, and without bytecode each start would take twice as long."""
    packages = ["accounts", "generation", "qwenstudio"]

    def is_done() -> bool:
        return all((site.folder / name / "__pycache__").is_dir() for name in packages)

    def do() -> None:
        call([str(site.python), "-m", "compileall", "-q", *packages], folder=site.folder)

    return Step("bytecode of the release", is_done, do)
