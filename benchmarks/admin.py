"""How long the admin's pages take with many rows: `python -m benchmarks.admin [--rows 100000] [--tenants 1000]`.

Starts a PostgreSQL of its own in a temporary folder, fills it, and asks for each page as a superuser does, through all
of Django but without a network. Prints JSON with the queries and milliseconds of each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import ROOT, keep, options_of, surroundings

PAGES = (
    "/admin/now/?part",
    "/admin/now/",
    "/admin/generation/generation/",
    "/admin/generation/generation/?p=150",
    "/admin/generation/generation/?status__exact=failed",
    "/admin/generation/generation/?q=tenant 77",
    "/admin/generation/failure/",
    "/admin/accounts/tenant/",
    "/admin/accounts/auditevent/",
    "/admin/accounts/auditevent/?what=key.made&of=tenant 77",
    "/admin/accounts/ledgerentry/",
    "/admin/search/?q=tenant 77",
)


def main() -> None:
    """Fill, ask, print."""
    arguments = options_of("admin", __doc__)
    arguments.add_argument("--rows", type=int, default=100_000, help="generations; a quarter of them waits")
    arguments.add_argument("--tenants", type=int, default=1_000)
    arguments.add_argument("--asks", type=int, default=15, help="times each page is asked for")
    given = arguments.parse_args()
    before = surroundings()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-") as folder:
        result = measure(Path(folder), given)
    keep({**before, **result}, given.out)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """Each page, asked for one after the other."""
    import psycopg

    from qwenstudio.embedded import start
    from tests.crowd import fill

    services = start(folder, log=lambda text: None, durable=True, tie=True)
    try:
        os.environ.update(services.environment())
        os.environ.update(STUDIO_VAR=str(folder), DJANGO_SETTINGS_MODULE="qwenstudio.settings", STUDIO_PROCESS="web")
        owner = {**os.environ, "STUDIO_PROCESS": "owner"}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=owner, check=True)
        with psycopg.connect(services.superuser_url, autocommit=True) as admin:
            admin.execute(
                "INSERT INTO generation_model (slug, title, pool, spec, enabled, public, position, created_at,"
                " updated_at) VALUES ('demo', 'Demo', 'demo', '{}', true, true, 0, now(), now())"
            )
            fill(admin, rows=given.rows, tenants=given.tenants)
        pages = ask_for_pages(given.asks)
    finally:
        services.stop()
    return {
        "what": f"the admin's pages with {given.rows} generations (a quarter waits) of {given.tenants} tenants",
        "pages": pages,
    }


def ask_for_pages(asks: int) -> dict[str, dict[str, float]]:
    """Queries and milliseconds of each page."""
    import logging

    import django

    django.setup()
    logging.disable(logging.INFO)
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User

    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.org", None))
    found = {}
    for page in PAGES:
        with CaptureQueriesContext(connection) as queries:
            if client.get(page).status_code != 200:
                raise SystemExit(f"{page} cannot be shown")
        asked, times = len(queries), []
        for _ in range(asks):
            started = time.perf_counter()
            client.get(page)
            times.append((time.perf_counter() - started) * 1000)
        found[page] = {
            "queries": asked,
            "p50_ms": round(statistics.median(times), 1),
            "most_ms": round(max(times), 1),
        }
    return found


if __name__ == "__main__":
    main()
