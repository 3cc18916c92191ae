"""The studio as it runs on a server: pages over WSGI, streams over ASGI, nginx with TLS in front.

This file is read before Django's settings are made: what needs them is imported inside.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.needs import find_nginx

if TYPE_CHECKING:
    from tests.deploy.lane import Lane
    from tests.deploy.nginxes import RunningNginx


@pytest.fixture(scope="session")
def lane(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """Web and stream as their units start them."""
    from tests.deploy.lane import running_lane

    with running_lane(tmp_path_factory.mktemp("lane")) as found:
        yield found


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files with their hashed names; the manifest goes into a folder of the test's."""
    from django.core.management import call_command
    from django.test import override_settings

    folder = tmp_path_factory.mktemp("collected")
    with override_settings(STATIC_ROOT=folder / "static", BASE_DIR=folder):
        call_command("collectstatic", interactive=False, verbosity=0)
    return folder


@pytest.fixture(scope="session")
def nginx(lane: Lane, collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNginx]:
    """nginx before the lane as blue; green is live and nobody is there."""
    from qwenstudio.proxy.lanes import LanesState
    from qwenstudio.proxy.site import LanePorts
    from tests.deploy.nginxes import running_nginx

    if find_nginx() is None:
        pytest.fail("only for tests that are marked needs_nginx")
    with (
        socket.socket() as web,
        socket.socket() as stream,
        running_nginx(
            tmp_path_factory.mktemp("nginx"),
            lanes={"blue": lane.ports, "green": LanePorts(*(hold(plug) for plug in (web, stream)))},
            state=LanesState(default="blue", live=frozenset({"blue", "green"}), sticky=True),
            static=collected / "static",
            media=Path(os.environ["STUDIO_MEDIA"]),
            metrics_networks=("192.0.2.0/24",),
            admin_networks=("127.0.0.1",),
        ) as found,
    ):
        yield found


def hold(plug: socket.socket) -> int:
    """A port on loopback where nobody listens, and that nobody else can take while the socket is open."""
    from qwenstudio.embedded.ports import HOST

    plug.bind((HOST, 0))
    return int(plug.getsockname()[1])
