"""`proxy write` and `proxy check`: everything nginx reads, from the settings, once."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from qwenstudio.proxy.errors import ProxyError
from qwenstudio.proxy.lanes import LanesState, read_state
from qwenstudio.proxy.places import Places
from qwenstudio.proxy.site import LanePorts, Site, read_site, render_site
from qwenstudio.proxy.traffic import apply
from tests.deploy.nginxes import DOMAIN, running_nginx
from tests.deploy.upstreams import upstream

GREEN = LanesState(default="green", live=frozenset({"blue", "green"}), sticky=True)


def site(root: Path, **values: Any) -> Site:
    lanes = {"blue": LanePorts(1, 2), "green": LanePorts(3, 4)}
    return Site(
        url=f"https://{DOMAIN}", places=Places(root), static=root / "s", media=root / "m", lanes=lanes, **values
    )


def run(*words: str) -> str:
    output = io.StringIO()
    call_command("proxy", *words, stdout=output)
    return output.getvalue()


@pytest.fixture
def root(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    settings.STUDIO_URL = f"https://{DOMAIN}"
    return tmp_path


def test_writing_twice_does_nothing(root: Path) -> None:
    first = run("write")
    assert first.count("wrote ") == 2 and "everybody to blue" in first and "self-signed" in first
    stamps = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    assert run("write") == "nothing to do\n"
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == stamps


def test_writing_again_leaves_the_lanes(root: Path) -> None:
    run("write")
    places = Places(root)
    from qwenstudio.proxy.lanes import render_lanes

    places.lanes.write_text(render_lanes(GREEN))
    places.site.write_text("# changed by hand\n")
    assert run("write") == f"wrote {places.site}\n"
    assert read_state(places) == GREEN
    assert run("render") == places.site.read_text()


def test_rendering_into_a_file(root: Path) -> None:
    run("render", "--out", str(root / "x.conf"))
    assert (root / "x.conf").read_text() == run("render")


def test_ports_come_from_the_lanes_files(root: Path) -> None:
    places = Places(root)
    assert read_site(places).lanes["blue"] == LanePorts(18787, 18789)
    places.lane_file("green").parent.mkdir(parents=True)
    places.lane_file("green").write_text(
        "# a comment\nSTUDIO_LANE=green\nSTUDIO_PORT=29000\nSTUDIO_STREAM_PORT=29001\n"
    )
    assert read_site(places).lanes["green"] == LanePorts(29000, 29001)
    places.lane_file("green").write_text("STUDIO_PORT=many\n")
    with pytest.raises(ProxyError, match=r"green\.env"):
        read_site(places)


@pytest.mark.parametrize("url", ["http://studio.test", "https://studio.test/x", "https://stu;dio", "https://"])
def test_an_address_that_nginx_cannot_serve_is_refused(root: Path, settings: Any, url: str) -> None:
    settings.STUDIO_URL = url
    with pytest.raises(CommandError, match="STUDIO_URL must be"):
        run("write")
    assert list(root.iterdir()) == [], "nothing was written"


@pytest.mark.parametrize("path", ["relative", "/a b", "/a;b", "/a{", '/a"', "/$a"])
def test_a_path_that_nginx_cannot_be_told_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ProxyError, match="cannot be told"):
        render_site(replace(site(tmp_path), media=Path(path)))


@pytest.mark.parametrize(
    ("version", "old"), [((1, 18), True), ((1, 22, 1), True), ((1, 25, 1), False), ((1, 26, 3), False)]
)
def test_http2_is_asked_for_in_the_words_of_the_version(tmp_path: Path, version: tuple[int, ...], old: bool) -> None:
    text = render_site(site(tmp_path, version=version, listen=("127.0.0.1",)))
    assert ("listen 127.0.0.1:443 ssl http2;" in text) is old
    assert ("    http2 on;" in text) is not old


@pytest.mark.needs_nginx
@pytest.mark.timeout(300)
def test_checking_says_what_is_wrong(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream() as web, running_nginx(
        tmp_path, lanes={lane: LanePorts(web.port, web.port) for lane in ("blue", "green")}
    ) as nginx:  # fmt: skip
        for name, value in nginx.settings().items():
            setattr(settings, name, value)
        settings.STUDIO_LISTEN = ["127.0.0.1"]
        monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
        for lane in ("blue", "green"):
            nginx.places.lane_file(lane).parent.mkdir(parents=True, exist_ok=True)
            nginx.places.lane_file(lane).write_text(f"STUDIO_PORT={web.port}\nSTUDIO_STREAM_PORT={web.port}\n")
        run("write")
        well = run("check")
        assert f"ok    files         {nginx.places.site}" in well
        assert "a worker takes 1024 connections" in well and "worker_connections 4096;" in well
        assert "nginx sends new visitors to blue" in well and "browsers refuse it" in well
        apply(GREEN, layout=nginx.places)
        nginx.places.site_link.unlink()
        os.truncate(nginx.places.site, 0)
        output = io.StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("proxy", "check", stdout=output)
        assert ended.value.code == 1
        assert "is not what the settings say" in output.getvalue() and "the site is off" in output.getvalue()
