"""Writing what nginx reads: the site, its lines for the main context, and what it needs to start at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qwenstudio.proxy.certificates import ensure_certificate
from qwenstudio.proxy.files import replace_file, replace_link
from qwenstudio.proxy.lanes import LanesState, render_lanes
from qwenstudio.proxy.places import HasRoot, places_of
from qwenstudio.proxy.site import read_site, render_main, render_site


def write_all(layout: HasRoot) -> Iterator[str]:
    """Bring every file to what the settings say, and tell what was changed; nothing is done twice.

    `lanes.conf` and the certificate are only made where they are missing: releases and certbot own them. Raises
    `ProxyError`, OSError.
    """
    places, site = places_of(layout), read_site(layout)
    pages, main = render_site(site), render_main(site)  # first: nothing is written where these cannot be made
    for folder in (places.acme, places.logs):
        folder.mkdir(parents=True, exist_ok=True)
    if not places.lanes.exists():
        replace_file(places.lanes, render_lanes(LanesState()))
        yield f"made {places.lanes}: everybody to blue"
    if ensure_certificate(layout, site.domain):
        yield f"made a self-signed certificate for {site.domain}; studio proxy certificate --obtain fetches a real one"
    yield from _write(places.site, pages)
    yield from _write(places.main, main)
    if not places.site_link.exists() and replace_link(places.site_link, places.site):
        yield f"switched on: {places.site_link}"


def _write(path: Path, text: str) -> Iterator[str]:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        replace_file(path, text)
        yield f"wrote {path}"
