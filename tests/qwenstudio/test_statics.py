"""Hashed names of static files, and whose word about TLS counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.finders import get_finder
from django.core.management import call_command
from django.test import RequestFactory, override_settings

from qwenstudio.middleware import forget_foreign_scheme
from qwenstudio.statics import HashedFiles


def test_plain_names_where_nothing_was_collected(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    assert HashedFiles().url("studio/studio.css") == "/static/studio/studio.css"


def test_each_release_knows_its_own_names(settings: Any, tmp_path: Path) -> None:
    for release, hashed in (("one", "0123456789ab"), ("two", "ba9876543210")):
        settings.BASE_DIR = tmp_path / release
        settings.BASE_DIR.mkdir()
        names = f'{{"version": "1.1", "hash": "", "paths": {{"a.css": "a.{hashed}.css"}}}}'
        (settings.BASE_DIR / "static.json").write_text(names)
        assert HashedFiles().url("a.css") == f"/static/a.{hashed}.css"


@pytest.mark.parametrize(("peer", "secure"), [("127.0.0.1", True), ("192.0.2.7", False), ("", False)])
def test_only_a_trusted_proxy_says_that_it_was_tls(settings: Any, peer: str, secure: bool) -> None:
    import ipaddress

    settings.STUDIO_TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.1")]
    request = RequestFactory().get("/", headers={"X-Forwarded-Proto": "https"}, REMOTE_ADDR=peer)
    forget_foreign_scheme(request)
    assert request.is_secure() is secure


def collect(settings: Any, release: Path, **files: str) -> dict[str, str]:
    """Collect a release's files as its own `collectstatic` would; the manifest's names."""
    source = release / "source"
    source.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (source / f"{name}.css").write_text(text)
    settings.BASE_DIR, settings.STATICFILES_DIRS = release, [source]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    get_finder.cache_clear()  # type: ignore[attr-defined]
    try:
        call_command("collectstatic", "--noinput", verbosity=0)
    finally:
        get_finder.cache_clear()  # type: ignore[attr-defined]
    found: dict[str, str] = json.loads((release / "static.json").read_text())["paths"]
    return found


def test_no_release_takes_another_ones_files(settings: Any, tmp_path: Path) -> None:
    """Nor is one of them gone for a moment: each name is written beside and put in place."""
    settings.STATIC_ROOT = tmp_path / "static"
    with override_settings(STORAGES=settings.STORAGES):  # the storage of `staticfiles` is made anew
        one = collect(settings, tmp_path / "one", a="body { color: red }", b="b { background: url('a.css') }")
    kept = {path.name: path.read_text() for path in settings.STATIC_ROOT.iterdir()}
    watched = Watched(settings.STATIC_ROOT, set(one.values()))
    with watched, override_settings(STORAGES=settings.STORAGES):
        two = collect(settings, tmp_path / "two", a="body { color: blue }", b="b { background: url('a.css') }")
    assert set(one.values()).isdisjoint(two.values()), "b names a by its hash"
    with watched, override_settings(STORAGES=settings.STORAGES):
        assert collect(settings, tmp_path / "one") == one, "once more changes no name"
    assert watched.looks > 0
    found = {path.name: path.read_text() for path in settings.STATIC_ROOT.iterdir()}
    assert {name: found[name] for name in one.values()} == {name: kept[name] for name in one.values()}
    assert not [name for name in found if name.endswith(".new")]


class Watched:
    """Looks whether files of a folder are there whenever one of it is deleted, opened or renamed."""

    def __init__(self, folder: Path, names: set[str]) -> None:
        self.folder, self.names, self.looks, self.on = folder, names, 0, False
        sys.addaudithook(self._look)

    def __enter__(self) -> None:
        self.on = True

    def __exit__(self, *_: object) -> None:
        self.on = False

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in ("open", "os.rename", "os.remove"):
            return
        self.on = False
        try:
            if str(arguments[0]).startswith(str(self.folder)):
                self.looks += 1
                assert event != "os.remove", arguments
                missing = [name for name in self.names if not (self.folder / name).read_text()]
                assert not missing, f"{event} {arguments[0]}: {missing}"
        finally:
            self.on = True
