"""What a release moves the machine with: links that are never missing, a release's own migrations, nginx's state."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from generation.errors import ReleaseFailed
from generation.releases.tools import Address, Traffic
from qwenstudio.proxy import LanesState, render_lanes
from qwenstudio.releasing import Folders, Nginx, Units, address_of, make_tools
from qwenstudio.units.control import UnitsError
from qwenstudio.units.layout import Layout

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An installation whose releases 1.0 and 1.1 are this checkout; 1.2 ends with a complaint."""
    layout = Layout(tmp_path)
    layout.releases.mkdir(parents=True)
    for number, name in enumerate(("1.0", "1.1")):
        folder = layout.release(name)
        folder.mkdir()
        (folder / "manage.py").write_text(
            f"import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"runpy.run_path({str(ROOT / 'manage.py')!r}, run_name='__main__')\n"
        )
        os.utime(folder, (time.time() + number, time.time() + number))
    broken = layout.release("0.9")
    broken.mkdir()
    (broken / "manage.py").write_text("import sys; sys.exit('relation exists')")
    os.utime(broken, (0, 0))
    (layout.releases / "not-a-release").mkdir()
    return layout


def test_releases_are_listed_the_newest_first(layout: Layout) -> None:
    assert Folders(layout).installed() == ["1.1", "1.0", "0.9"]


def test_half_an_installation_is_no_release(layout: Layout) -> None:
    """Nor is one whose packages are missing; and the list of static files makes none newer."""
    copying = layout.releases / ".1.2.new"
    copying.mkdir()
    (copying / "manage.py").touch()
    bare = layout.release("1.3")
    bare.mkdir()
    (bare / "manage.py").touch()
    (bare / "RELEASE").write_text("1.3")
    assert Folders(layout).installed() == ["1.1", "1.0", "0.9"]
    (bare / ".venv").mkdir()
    (bare / ".venv" / ".installed").touch()
    os.utime(bare / "RELEASE", (1, 1))
    assert Folders(layout).installed() == ["1.1", "1.0", "1.3", "0.9"]


def test_old_releases_go_but_none_that_a_lane_is(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = Folders(layout)
    for number in range(2, 6):
        (layout.release(f"0.{number}")).mkdir()
        (layout.release(f"0.{number}") / "manage.py").touch()
        os.utime(layout.release(f"0.{number}"), (number, number))
    folders.link("green", "0.3")
    folders.link("blue", "1.1")
    assert folders.installed() == ["1.1", "1.0", "0.5", "0.4", "0.3", "0.2", "0.9"]
    monkeypatch.setattr(shutil, "rmtree", lambda *_: None)  # the power goes
    assert folders.remove_old() == ["0.4", "0.2", "0.9"]
    monkeypatch.undo()
    assert folders.installed() == ["1.1", "1.0", "0.5", "0.3"]
    assert folders.remove_old() == []
    names = sorted(path.name for path in layout.releases.iterdir())
    assert names == ["0.3", "0.5", "1.0", "1.1", "not-a-release"], "what was cut off is gone too"


def test_a_release_collects_its_own_static_files(layout: Layout) -> None:
    """By its own manage.py; everybody may read them, whatever the umask of whoever typed the command."""
    folder = layout.release("1.1")
    script = "import pathlib, sys\npathlib.Path('static.json').write_text(' '.join(sys.argv[1:]))\n"
    (folder / "manage.py").write_text(script)
    old = os.umask(0o077)
    try:
        Folders(layout).collect_static("1.1")
    finally:
        os.umask(old)
    assert (folder / "static.json").read_text() == "collectstatic --no-input --verbosity 0"
    assert (folder / "static.json").stat().st_mode & 0o777 == 0o644
    with pytest.raises(ReleaseFailed, match=r"collectstatic .* of 0.9 ended with 1"):
        Folders(layout).collect_static("0.9")


def test_links_lead_where_the_layout_says(layout: Layout) -> None:
    folders = Folders(layout)
    assert folders.release_of("green") == ""
    folders.link("green", "1.0")
    folders.link("green", "1.1")
    folders.make_current("green")
    assert folders.release_of("green") == "1.1"
    assert os.readlink(layout.lane("green")) == "../releases/1.1"
    assert os.readlink(layout.current) == "lanes/green"
    assert layout.current.resolve() == layout.release("1.1")
    assert sorted(path.name for path in layout.lanes.iterdir()) == ["green"], "nothing is left beside it"


def test_a_folder_where_the_link_should_be_is_said(layout: Layout) -> None:
    layout.lane("green").mkdir(parents=True)
    with pytest.raises(ReleaseFailed, match="cannot be made to point to"):
        Folders(layout).link("green", "1.0")


def test_a_release_tells_its_migrations_itself(layout: Layout, db: None) -> None:
    folders = Folders(layout)
    assert folders.unapplied("1.1") == []
    folders.migrate("1.1")
    with pytest.raises(ReleaseFailed, match=r"migrate .* of 0.9 ended with 1: relation exists"):
        folders.migrate("0.9")


def test_ports_are_those_of_the_lanes_settings(layout: Layout) -> None:
    assert address_of(layout, "green") == Address(web=18788, stream=18790)
    layout.lane_settings.mkdir(parents=True)
    layout.lane_env("green").write_text("STUDIO_PORT=28788\nSTUDIO_STREAM_PORT=28790\n")
    assert address_of(layout, "green") == Address(web=28788, stream=28790)
    layout.lane_env("green").write_text("STUDIO_PORT=none\n")
    with pytest.raises(ReleaseFailed, match=r"green\.env"):
        address_of(layout, "green")


def test_nginx_is_read_back(layout: Layout) -> None:
    nginx = Nginx(layout)
    assert nginx.read() is None
    layout.lanes_conf.parent.mkdir(parents=True)
    layout.lanes_conf.write_text(render_lanes(LanesState("green", frozenset({"blue", "green"}), sticky=True)))
    assert nginx.read() == Traffic("green", frozenset({"blue", "green"}), sticky=True)


class Nobody:
    """Units that cannot be had."""

    def _refuse(self, names: Sequence[str]) -> None:
        raise UnitsError("systemd does not answer")

    start = stop = restart = enable = disable = _refuse

    def states(self, names: Sequence[str]) -> dict[str, str]:
        raise UnitsError("systemd does not answer")

    def main_pid(self, name: str) -> int | None:
        return None


def test_what_units_say_reaches_the_operator() -> None:
    units = Units(Nobody())
    for do in (units.start, units.stop, units.restart, units.enable, units.disable, units.states):
        do([])  # nobody is asked
        with pytest.raises(ReleaseFailed, match="systemd does not answer"):
            do(["studio-web@green.service"])


def test_without_an_installation_it_says_what_to_do(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(layout.root))
    with pytest.raises(ReleaseFailed, match="nobody manages the studio's units"):
        make_tools()
