"""Moving traffic: a new `lanes.conf`, tested by nginx, taken by one reload, and seen to be in force."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn
from urllib.parse import urlsplit

from django.conf import settings

from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.files import replace_file
from qwenstudio.proxy.lanes import LanesState, read_lanes, render_lanes
from qwenstudio.proxy.places import HasRoot, Places, places_of

WAIT_S = 30.0
"""It takes a fraction of a second; a machine that is busy with other things may need many times that."""
COMMAND_S = 30.0
ASK_EVERY_S = 0.012
IN_A_ROW = 10
"""Old workers take connections beside the new ones for 0.1 s: fewer answers could be luck."""
LANE_PATH = "/.well-known/studio-lane"


def apply(state: LanesState, *, layout: HasRoot) -> None:
    """Put a state in force: when this returns, every new connection meets it.

    Raises `ProxyError` with nginx's words; then the file and nginx are as they were.
    """
    places = places_of(layout)
    with _alone(places):
        old_text = _read(places)
        serial = read_lanes(layout)[1] + 1 if old_text else 1
        replace_file(places.lanes, render_lanes(state, serial=serial))
        try:
            test_configuration()
            reload_nginx()
            wait_for(state.default, serial, seconds=WAIT_S)
        except ProxyError as error:
            _go_back(places, old_text, error)


def test_configuration() -> None:
    """`nginx -t`. Raises `ProxyError` with what it says."""
    _call("nginx refuses the configuration", settings.STUDIO_NGINX_TEST)


def reload_nginx() -> None:
    """Let nginx read its files again; old workers end what they hold. Raises `ProxyError`."""
    _call("nginx could not be reloaded", settings.STUDIO_NGINX_RELOAD)


def ask_lane() -> tuple[str, int]:
    """The default lane and the serial that nginx itself tells, over a new connection. Raises `ProxyError`."""
    host = urlsplit(settings.STUDIO_URL).hostname or "localhost"
    connection = http.client.HTTPConnection("127.0.0.1", settings.STUDIO_HTTP_PORT, timeout=2)
    try:
        connection.request("GET", LANE_PATH, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ProxyError(f"nginx answers {answer.status} to {LANE_PATH} on port {settings.STUDIO_HTTP_PORT}")
        words = json.loads(body)
        return str(words["lane"]), int(words["serial"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise ProxyError(f"nginx does not answer on port {settings.STUDIO_HTTP_PORT}: {error}") from None
    finally:
        connection.close()


def wait_for(lane: str, serial: int, *, seconds: float) -> None:
    """Until new connections meet this state. Raises `ProxyError` when the time is up."""
    deadline = time.monotonic() + seconds
    seen, last = 0, ""
    while time.monotonic() < deadline:
        try:
            found = ask_lane()
        except ProxyError as error:
            seen, last = 0, str(error)
        else:
            seen = seen + 1 if found == (lane, serial) else 0
            last = f"nginx still sends to {found[0]} (serial {found[1]} instead of {serial})"
        if seen == IN_A_ROW:
            return
        time.sleep(ASK_EVERY_S)
    raise ProxyError(f"nginx was reloaded and has not taken {lane} within {seconds:g} s: {last}")


def _go_back(places: Places, old_text: str, error: ProxyError) -> NoReturn:
    """The old file again; nginx is told once more, in case it was only slow to take the new one."""
    if old_text:
        replace_file(places.lanes, old_text)
        with suppress(ProxyError):
            reload_nginx()
    else:
        places.lanes.unlink(missing_ok=True)
    raise error


def _read(places: Places) -> str:
    try:
        return places.lanes.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _call(what: str, line: str) -> None:
    try:
        done = subprocess.run(
            shlex.split(line), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProxyError(f"{what}: {error}") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise ProxyError(f"{what} ({line}):\n{words}")


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """One change at a time: a second one waits for the first."""
    places.folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(places.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
