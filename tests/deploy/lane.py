"""The two processes of a lane, as their units start them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qwenstudio.proxy.site import LanePorts
from tests.deploy.nginxes import DOMAIN
from tests.qwenstudio.fronts import RunningFront, running_front

PREFIX = "/protected/"


@dataclass(frozen=True)
class Lane:
    """What runs, and where."""

    web: RunningFront
    stream: RunningFront

    @property
    def ports(self) -> LanePorts:
        """Where nginx finds them."""
        return LanePorts(web=urlsplit(self.web.url).port or 0, stream=urlsplit(self.stream.url).port or 0)


@contextmanager
def running_lane(folder: Path) -> Iterator[Lane]:
    """Start both and wait until they answer. Which port nginx will have is not known yet: their address names none."""
    environment = {
        "STUDIO_URL": f"https://{DOMAIN}",
        "STUDIO_TRUSTED_PROXIES": "127.0.0.1",
        "STUDIO_ACCEL_PREFIX": PREFIX,
    }
    for name in ("web", "stream"):
        (folder / name).mkdir()
    pages, streams = "qwenstudio.wsgi:application", "qwenstudio.asgi:door"
    with (
        running_front(folder / "web", target=pages, interface="wsgi", **environment) as web,
        running_front(folder / "stream", target=streams, **environment, STUDIO_PROCESS="stream") as stream,
    ):
        yield Lane(web, stream)
