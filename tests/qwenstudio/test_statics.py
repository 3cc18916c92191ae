"""Hashed names of static files, and whose word about TLS counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory

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
