"""Where everything of an installation lies. On a server the root is `/`; tests install into a folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

LANES = ("blue", "green")
WEB_PORTS = {"blue": 18787, "green": 18788}
STREAM_PORTS = {"blue": 18789, "green": 18790}
PREFIXES = (
    "/opt/qwenstudio",
    "/etc/qwenstudio",
    "/var/lib/qwenstudio",
    "/var/backups/qwenstudio",
    "/run/qwenstudio",
    "/usr/local/bin/studio",
)
"""What unit files name, and what a root is put in front of."""
_PREFIX = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, PREFIXES)) + r")\b")


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths below one root."""

    root: Path = Path("/")

    @classmethod
    def here(cls) -> Layout:
        """The installation that `STUDIO_ROOT` names, else the machine's own."""
        return cls(Path(os.environ.get("STUDIO_ROOT") or "/").absolute())

    @property
    def is_machine(self) -> bool:
        """Whether this is the machine's own installation and no folder for tests."""
        return self.root == Path("/")

    # ---- code

    @property
    def opt(self) -> Path:
        """Code, and nothing else."""
        return self.root / "opt/qwenstudio"

    @property
    def releases(self) -> Path:
        """A folder for each release."""
        return self.opt / "releases"

    def release(self, name: str) -> Path:
        """One release: code, its `.venv`, the file RELEASE."""
        return self.releases / name

    @property
    def lanes(self) -> Path:
        """A link for each lane that was ever started."""
        return self.opt / "lanes"

    def lane(self, lane: str) -> Path:
        """The link of a lane to its release."""
        return self.lanes / lane

    @property
    def current(self) -> Path:
        """The link to the default lane: ticker, timers and the `studio` command run from it."""
        return self.opt / "current"

    @property
    def command(self) -> Path:
        """The `studio` command."""
        return self.root / "usr/local/bin/studio"

    # ---- settings

    @property
    def etc(self) -> Path:
        """Settings."""
        return self.root / "etc/qwenstudio"

    @property
    def settings(self) -> Path:
        """The environment of all processes; holds no secret."""
        return self.etc / "studio.env"

    @property
    def secrets(self) -> Path:
        """One secret a file."""
        return self.etc / "secrets"

    def secret(self, name: str) -> Path:
        """The file of one secret."""
        return self.secrets / name

    @property
    def lane_settings(self) -> Path:
        """The folder of `blue.env` and `green.env`."""
        return self.etc / "lanes"

    def lane_env(self, lane: str) -> Path:
        """A lane's name and ports."""
        return self.lane_settings / f"{lane}.env"

    @property
    def gpu_settings(self) -> Path:
        """The folder of one file for each GPU."""
        return self.etc / "gpu"

    def gpu_env(self, number: int | str) -> Path:
        """A GPU's device and pool."""
        return self.gpu_settings / f"{number}.env"

    @property
    def gpus(self) -> list[str]:
        """The numbers of all GPUs that have a file."""
        found = [path.stem for path in self.gpu_settings.glob("*.env") if path.stem.isdecimal()]
        return sorted(found, key=int)

    @property
    def proxy_settings(self) -> Path:
        """The folder of nginx's files that the studio writes."""
        return self.etc / "nginx"

    @property
    def lanes_conf(self) -> Path:
        """Which lane nginx sends whom to."""
        return self.proxy_settings / "lanes.conf"

    # ---- state

    @property
    def var(self) -> Path:
        """STUDIO_VAR."""
        return self.root / "var/lib/qwenstudio"

    @property
    def media(self) -> Path:
        """STUDIO_MEDIA."""
        return self.var / "media"

    @property
    def static(self) -> Path:
        """Static files of all releases, by hashed names."""
        return self.var / "static"

    @property
    def backups(self) -> Path:
        """Nightly backups."""
        return self.root / "var/backups/qwenstudio"

    @property
    def run(self) -> Path:
        """What lives as long as a unit does."""
        return self.root / "run/qwenstudio"

    @property
    def socket(self) -> Path:
        """Where `manage.py up --from-units` listens."""
        return self.var / "units.sock"

    # ---- the system's own folders

    @property
    def units(self) -> Path:
        """Unit files."""
        return self.root / "etc/systemd/system"

    @property
    def site(self) -> Path:
        """nginx's site."""
        return self.root / "etc/nginx/sites-available/qwenstudio.conf"

    @property
    def site_link(self) -> Path:
        """What enables it."""
        return self.root / "etc/nginx/sites-enabled/qwenstudio.conf"

    @property
    def main_lines(self) -> Path:
        """What nginx's main context is given."""
        return self.root / "etc/nginx/modules-enabled/90-qwenstudio.conf"

    def put_in_front(self, text: str) -> str:
        """A unit file's text for this root: every path of `PREFIXES` in it begins with the root."""
        if self.is_machine:
            return text
        # In one pass, and not where a path of ours stands behind another folder (the root may hold such names too).
        return _PREFIX.sub(lambda found: f"{self.root}{found[0]}", text)
