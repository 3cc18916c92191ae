"""What one look at `/metrics` costs with many rows waiting: `python -m benchmarks.metrics [--rows 100000]`.

Starts a PostgreSQL of its own in a temporary folder, fills it like `benchmarks/claim.py`, puts the numbers of five
other processes beside it and shows the page under the web's role, without its memory of a second. Prints JSON.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import ROOT, keep, options_of, summarize, surroundings

PROCESSES = 6


def main() -> None:
    """Fill, look, print."""
    arguments = options_of("metrics", __doc__)
    arguments.add_argument("--rows", type=int, default=100_000, help="waiting rows")
    arguments.add_argument("--finished", type=int, default=100_000, help="rows that have ended, beside them")
    arguments.add_argument("--tenants", type=int, default=990)
    arguments.add_argument("--looks", type=int, default=50)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-") as folder:
        result = measure(Path(folder), given)
    keep(result, given.out)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """The page with a full queue, and with an empty one beside it."""
    import psycopg

    from benchmarks.claim import FILL_SQL, KINDS
    from qwenstudio.embedded import start

    services = start(folder, log=lambda text: None, durable=True, tie=True)
    try:
        os.environ.update(services.environment())
        os.environ.update(STUDIO_VAR=str(folder), DJANGO_SETTINGS_MODULE="qwenstudio.settings", STUDIO_PROCESS="web")
        owner = {**os.environ, "STUDIO_PROCESS": "owner"}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=owner, check=True)
        import django

        django.setup()
        put_numbers()
        empty, _ = time_looks(given.looks)
        with psycopg.connect(services.superuser_url, autocommit=True) as admin:
            total = given.rows + given.finished
            admin.execute(FILL_SQL.format(tenants=given.tenants, rows=given.rows, total=total, kinds=KINDS).encode())
            full, page = time_looks(given.looks)
    finally:
        services.stop()
    assert f'studio_queue_depth{{lane="blue",model="bench",pool="bench"}} {float(given.rows)}' in page
    return {
        "what": f"/metrics, {given.rows} waiting of {total}, {given.tenants} tenants, {PROCESSES} processes",
        **surroundings(),
        "looks": given.looks,
        "full_queue": summarize(full),
        "empty_queue": summarize(empty),
        "bytes": len(page),
        "samples": sum(1 for line in page.splitlines() if not line.startswith("#")),
    }


def put_numbers() -> None:
    """Count something under every route, and leave it as six other processes would."""
    from accounts.meters import count_refusal, count_request
    from accounts.meters.share import Share
    from accounts.meters.share import share as share_own
    from tests.series import find_routes

    for route in find_routes():
        for method in ("GET", "POST"):
            for status in (200, 404):
                count_request(route=route, method=method, status=status, seconds=0.1)
    count_refusal("rate_limited")
    shares = [Share("web") for _ in range(PROCESSES)]
    for share in shares:
        share.start()
    for share in shares:
        share.stop()
    share_own("web")


def time_looks(looks: int) -> tuple[list[float], str]:
    """Milliseconds of each look, sorted, and the last page."""
    from qwenstudio.metrics import show

    show.FRESH_S = -1.0
    times, page = [], b""
    for number in range(looks + 3):
        started = time.perf_counter()
        page = show.show_metrics()
        if number >= 3:
            times.append((time.perf_counter() - started) * 1000)
    return sorted(times), page.decode()


if __name__ == "__main__":
    main()
