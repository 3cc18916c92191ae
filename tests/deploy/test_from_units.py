"""The installed units, run by `manage.py up --from-units`: a picture through the web port; whatever dies comes back."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from qwenstudio.embedded import Services
from tests.deploy.installed import UNITS, Installed, running, wait_for
from tests.factories import Person

LONG_S = 150.0
"""No bound of the product's: a busy machine may take so long. What it took is printed."""


def serves_or_ended(found: Installed, kind: str) -> bool:
    return found.process.poll() is not None or found.serves(kind)


@pytest.fixture
def installed(tmp_path: Path, services: Services, alice: Person) -> Iterator[Installed]:
    with running(tmp_path / "server", services) as found:
        for kind in UNITS:
            wait_for(partial(serves_or_ended, found, kind), seconds=LONG_S, what=kind)
            assert found.process.poll() is None, found.said()
        yield found


@pytest.mark.timeout(900)
def test_one_life_of_the_installed_units(installed: Installed, alice: Person) -> None:
    """In one installation, as its start takes half a minute of a core."""
    draw_a_picture(installed, alice)
    stop_and_kill_each(installed)


def draw_a_picture(installed: Installed, alice: Person) -> None:
    """Through the web port; it is stored for those that may read it, and nginx is told where."""
    assert stat.S_IMODE(installed.layout.socket.stat().st_mode) == 0o600
    status, made = installed.ask(
        "web", "POST", "/api/v1/images", {"model": "demo", "prompt": "a red circle"}, key=alice.secret
    )
    assert status == 202, made

    def done() -> bool:
        status, now = installed.ask("web", "GET", f"/api/v1/images/{made['id']}", key=alice.secret)
        return status == 200 and now["status"] == "succeeded"

    print(f"a picture after {wait_for(done, seconds=LONG_S, what='a picture'):.1f} s")
    _, found = installed.ask("web", "GET", f"/api/v1/images/{made['id']}", key=alice.secret)
    files = [path for path in installed.layout.media.rglob("*") if path.suffix == ".png"]
    assert len(files) == 1 and files[0].read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o640
    url = found["images"][0]["url"].removeprefix("https://studio.test")
    _, headers = installed.ask("web", "GET", url, key=alice.secret)
    assert {name.lower(): value for name, value in headers.items()}["x-accel-redirect"].startswith("/protected/")

    # Waits and streams have their own port; pages name static files by their hashes.
    status, waited = installed.ask("stream", "GET", "/healthz")
    assert (status, waited["lane"]) == (200, "blue")


def stop_and_kill_each(installed: Installed) -> None:
    """Whatever stops or dies serves again. A server's child is what serves; its parent is killed as well."""
    cases = [(kind, "serving", how) for kind in UNITS for how in (signal.SIGSTOP, signal.SIGKILL)]
    cases += [(kind, "main", signal.SIGKILL) for kind in ("web", "stream")]
    for kind, which, how in cases:
        wait_for(partial(installed.serves, kind), seconds=LONG_S, what=f"{kind} before")
        old = installed.serving(kind)
        assert old is not None
        victim = old if which == "serving" else installed.main(kind)
        assert victim is not None
        os.kill(victim, how)

        def again(kind: str = kind, old: int = old) -> bool:
            return installed.serving(kind) not in (old, None) and installed.serves(kind)

        seconds = wait_for(again, seconds=LONG_S, what=f"{kind} after {how.name}")
        print(f"{kind:<7} {which:<8} {how.name}: serving again after {seconds:.1f} s")
    silent = installed.said().count("has said nothing for too long")
    assert silent == len(UNITS) - 1, "once for each that was stopped, but the GPU worker, which is seen to be at once"
