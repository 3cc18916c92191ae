"""Whether nginx does what the settings say: `manage.py proxy check`."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings

from qwenstudio.proxy.certificates import read_certificate, read_served
from qwenstudio.proxy.errors import Level, ProxyError
from qwenstudio.proxy.lanes import read_lanes
from qwenstudio.proxy.places import HasRoot, Places, places_of
from qwenstudio.proxy.site import read_site, render_main, render_site
from qwenstudio.proxy.traffic import ask_lane, test_configuration

ENOUGH_CONNECTIONS = 4096
"""Each client takes two: its own, and the one to the application."""


@dataclass(frozen=True)
class Finding:
    """One line of a report."""

    level: Level
    name: str
    text: str
    remedy: str = ""


def check_proxy(layout: HasRoot, *, only: str = "") -> Iterator[Finding]:
    """Every check, or the one named; each says what it saw."""
    for name, check in CHECKS.items():
        if only in ("", name):
            try:
                yield from check(places_of(layout))
            except (ProxyError, OSError) as error:
                yield Finding("fail", name, str(error), "systemctl status nginx; nginx -t says what it refuses")


def _check_files(places: Places) -> Iterator[Finding]:
    site = read_site(places)
    for path, text in ((places.site, render_site(site)), (places.main, render_main(site))):
        if not path.exists():
            yield Finding("fail", "files", f"{path} is missing", "studio proxy write")
        elif path.read_text(encoding="utf-8") != text:
            yield Finding(
                "warn", "files", f"{path} is not what the settings say", "studio proxy write, then reload nginx"
            )
        else:
            yield Finding("ok", "files", str(path))
    if not places.site_link.exists():
        yield Finding("fail", "files", f"{places.site_link} is missing: the site is off", "studio proxy write")


def _check_nginx(places: Places) -> Iterator[Finding]:
    test_configuration()
    line = ["-T" if word == "-t" else word for word in shlex.split(settings.STUDIO_NGINX_TEST)]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    found = re.findall(r"^[^#\n]*\bworker_connections\s+(\d+)\s*;", done.stdout, re.MULTILINE)
    connections = int(found[-1]) if found else 512
    if connections < ENOUGH_CONNECTIONS:
        remedy = f"worker_connections {ENOUGH_CONNECTIONS}; in the events block of /etc/nginx/nginx.conf"
        text = f"a worker takes {connections} connections: {connections // 2} clients"
        yield Finding("warn", "nginx", text, remedy)
    else:
        yield Finding("ok", "nginx", f"takes its configuration; {connections} connections a worker")


def _check_lanes(places: Places) -> Iterator[Finding]:
    state, serial = read_lanes(places)
    lane, served = ask_lane()
    if (lane, served) == (state.default, serial):
        yield Finding("ok", "lanes", f"nginx sends new visitors to {lane}")
    else:
        text = f"nginx sends to {lane} (serial {served}), the file says {state.default} (serial {serial})"
        yield Finding("fail", "lanes", text, settings.STUDIO_NGINX_RELOAD)


def _check_certificate(places: Places) -> Iterator[Finding]:
    site = read_site(places)
    served = read_served(site.domain, site.https_port)
    level, text, remedy = served.judge(site.domain)
    yield Finding(level, "certificate", text, remedy)
    try:
        stored = read_certificate(places)
    except (ProxyError, PermissionError):
        return  # readable for root only: what is served is what counts
    if stored.serial != served.serial:
        remedy = settings.STUDIO_NGINX_RELOAD
        yield Finding("fail", "renewal", "nginx shows an older certificate than its file holds", remedy)


def _check_accel(places: Places) -> Iterator[Finding]:
    if settings.STUDIO_ACCEL_PREFIX:
        yield Finding("ok", "accel", f"nginx sends pictures from {settings.STUDIO_MEDIA}")
    else:
        yield Finding("warn", "accel", "the application sends every picture itself", "STUDIO_ACCEL_PREFIX=/protected/")


CHECKS: dict[str, Callable[[Places], Iterator[Finding]]] = {
    "files": _check_files,
    "nginx": _check_nginx,
    "lanes": _check_lanes,
    "certificate": _check_certificate,
    "accel": _check_accel,
}
