"""Where the files of the proxy lie, below the root of the installation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class HasRoot(Protocol):
    """The layout of an installation; all we ask of it is where it begins."""

    @property
    def root(self) -> Path: ...


@dataclass(frozen=True)
class Places:
    """Paths below a root (`/` on a server)."""

    root: Path

    @property
    def folder(self) -> Path:
        """What the studio writes for nginx."""
        return self.root / "etc/qwenstudio/nginx"

    @property
    def lanes(self) -> Path:
        """Which lane takes whom."""
        return self.folder / "lanes.conf"

    @property
    def site(self) -> Path:
        """The site; Debian's nginx reads it by its link in sites-enabled."""
        return self.root / "etc/nginx/sites-available/qwenstudio.conf"

    @property
    def site_link(self) -> Path:
        """The link that switches the site on."""
        return self.root / "etc/nginx/sites-enabled/qwenstudio.conf"

    @property
    def main(self) -> Path:
        """Lines for nginx's main context: Debian includes this folder there."""
        return self.root / "etc/nginx/modules-enabled/90-qwenstudio.conf"

    @property
    def certificate(self) -> Path:
        """A link to the folder with `fullchain.pem` and `privkey.pem`: one rename changes both."""
        return self.folder / "certificate"

    @property
    def self_signed(self) -> Path:
        """The certificate that nginx starts with."""
        return self.folder / "self-signed"

    @property
    def acme(self) -> Path:
        """The webroot in which certbot answers the authority."""
        return self.root / "var/www/qwenstudio-acme"

    @property
    def letsencrypt(self) -> Path:
        """certbot's folder."""
        return self.root / "etc/letsencrypt"

    @property
    def logs(self) -> Path:
        """nginx's logs; Debian's logrotate turns every `*.log` in it."""
        return self.root / "var/log/nginx"

    def lane_file(self, lane: str) -> Path:
        """The variables of a lane's units, its ports among them."""
        return self.root / f"etc/qwenstudio/lanes/{lane}.env"


def places_of(layout: HasRoot) -> Places:
    """The proxy's places in an installation."""
    return Places(Path(layout.root))
