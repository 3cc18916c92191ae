"""One installation: what was asked for, where it goes, and our own commands in its environment."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from installer.machine import Distribution, call
from installer.plan import InstallError
from qwenstudio.release import release_name
from qwenstudio.units.layout import LANES, Layout
from qwenstudio.units.unitfile import read_environment

CHECKOUT = Path(__file__).resolve().parents[2]
ACCOUNT = "qwenstudio"
PROXY_GROUP = "www-data"


@dataclass
class Site:
    """What all steps share."""

    layout: Layout
    domain: str
    distribution: Distribution | None
    """None in a folder (`--root`), where no package is installed."""
    start: bool = True
    venv: Path | None = None
    urls: dict[str, str] = field(default_factory=dict)
    """`database`, `database-worker`, `database-owner`, `redis`, `email`: those that were named."""
    pool: str = "demo"
    processes: int = 2
    gpus: int = 0
    release: str = ""
    operator: str = ""
    """The address of whoever installs this from elsewhere."""

    def __post_init__(self) -> None:
        self.release = self.release or release_name(CHECKOUT)
        if self.release == "unknown":
            if (CHECKOUT / ".git").exists() and not shutil.which("git"):
                raise InstallError(f"{CHECKOUT} is a checkout, and git is not installed: apt-get install git")
            raise InstallError(f"{CHECKOUT} is no checkout and has no file RELEASE: name it with STUDIO_RELEASE=name")

    @property
    def is_installed(self) -> bool:
        """Whether an installation came to its end here: from then on only release commands move lanes."""
        return self.mark.is_file()

    @property
    def mark(self) -> Path:
        """Written by the last step."""
        return self.layout.opt / "INSTALLED"

    @property
    def serving(self) -> str:
        """The release that the default lane is."""
        return self.layout.current.resolve().name if self.is_installed and self.layout.current.is_symlink() else ""

    @property
    def is_beside(self) -> bool:
        """Whether another release serves: then this one is put beside it, and nothing that runs is touched."""
        return self.serving not in ("", self.release)

    @property
    def lane(self) -> str:
        """The default lane: what `current` says, else what nginx was told last (settings outlive an uninstall)."""
        if self.layout.current.is_symlink():
            return os.readlink(self.layout.current).rpartition("/")[2]
        try:
            first = self.layout.lanes_conf.read_text(encoding="utf-8").partition("\n")[0]
            found = str(json.loads(first.removeprefix("#"))["default"])
        except (OSError, ValueError, KeyError, TypeError):
            return LANES[0]
        return found if found in LANES else LANES[0]

    @property
    def folder(self) -> Path:
        """The release's."""
        return self.layout.release(self.release)

    @property
    def python(self) -> Path:
        """The release's Python."""
        return self.folder / ".venv/bin/python"

    @property
    def own_database(self) -> bool:
        """Whether PostgreSQL runs here for us."""
        return "database" not in self.urls

    @property
    def own_redis(self) -> bool:
        """Whether Redis or Valkey runs here for us."""
        return "redis" not in self.urls

    def own(self, path: Path, *, user: str = "root", group: str = "root") -> None:
        """Give a path its owner. In a folder of somebody's everything stays his."""
        if self.layout.is_machine:
            os.chown(path, *self._ids(user, group), follow_symlinks=False)

    def is_owned(self, path: Path, *, user: str = "root", group: str = "root") -> bool:
        """Whether it has that owner."""
        if not self.layout.is_machine:
            return True
        found = path.lstat()
        try:
            return (found.st_uid, found.st_gid) == self._ids(user, group)
        except KeyError:
            return False

    def _ids(self, user: str, group: str) -> tuple[int, int]:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid

    def environment(self) -> dict[str, str]:
        """What our commands see: the installation's settings, and the owner's database for migrations."""
        found = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        found |= read_environment(self.layout.settings)
        return found | {"DATABASE_OWNER_URL_FILE": str(self.layout.secret("database-owner-url"))}

    def manage(self, *words: str) -> str:
        """One of our commands, in the new release."""
        return call([str(self.python), "manage.py", *words], environment=self.environment(), folder=self.folder)
