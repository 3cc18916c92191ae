"""nginx in front: whether it does what the settings say, as `manage.py proxy check` sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from qwenstudio.doctor.finding import Finding
from qwenstudio.proxy.certificates import KEY
from qwenstudio.proxy.check import CHECKS, check_proxy
from qwenstudio.proxy.places import Places, places_of
from qwenstudio.units.layout import Layout


def check_nginx() -> Iterator[Finding]:
    """Only where a site of the studio is installed; its certificate has a check of its own."""
    places = places_of(Layout.here())
    if not os.path.lexists(places.site):
        return
    for name in CHECKS:
        if name == "nginx" and not may_test(places):
            yield Finding("ok", "nginx", "only root may ask it whether it takes its files: sudo studio doctor")
            continue
        for found in check_proxy(places, only=name):
            if found.name != "certificate":
                title = "nginx" if found.name == "nginx" else f"nginx, {found.name}"
                yield Finding(found.level, title, found.text, found.remedy)


def may_test(places: Places) -> bool:
    """Whether this account can read what nginx reads before it becomes somebody else."""
    return os.access(places.certificate / KEY, os.R_OK)
