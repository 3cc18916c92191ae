"""`python -m tests.proofs.waiters`: 100 clients wait with `Prefer: wait=60` on a queue that nobody serves.

Meanwhile another tenant's person opens pages: each must come within 200 ms, and the web process may use five database
connections.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.proofs.record import write_record

CLIENTS = 100
WAIT_S = 60
PAGES = ("/studio/", "/gallery/", "/api/v1/images")
PAGE_MS = 200.0
CONNECTIONS = 5
PROVES = ("qwenstudio/door", "qwenstudio/asgi.py", "generation/api", "accounts/web/middleware.py")
# The pause between two pages: a person, not a load test.
PAUSE_S = 0.1


async def measure(
    *, url: str, secret: str, cookie: str, database: str, clients: int = CLIENTS, wait_s: int = WAIT_S
) -> dict[str, Any]:
    """Let the clients wait and look at pages meanwhile; raw counts."""
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {secret}", "Prefer": f"wait={wait_s}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=wait_s + 60) as http:
        began = time.monotonic()
        waiting = [asyncio.create_task(wait_once(http, number)) for number in range(clients)]
        stop = asyncio.Event()
        beside = asyncio.create_task(look_at_pages(url=url, cookie=cookie, database=database, seconds=60, stop=stop))
        accepted = await count_accepted(database, clients)
        quiet_at = time.monotonic() - began
        stop.set()
        rush, _ = await beside
        pages, used = await look_at_pages(url=url, cookie=cookie, database=database, seconds=wait_s - quiet_at - 2)
        still_waiting = sum(not task.done() for task in waiting)
        answers = await asyncio.gather(*waiting)
    return {
        "clients": clients,
        "wait_s": wait_s,
        "accepted": accepted,
        "submitted_within_s": round(quiet_at, 2),
        "still_waiting_after_the_last_page": still_waiting,
        "answers": dict(Counter(str(status) for status, _ in answers)),
        "shortest_wait_s": round(min(took for _, took in answers), 2),
        "longest_wait_s": round(max(took for _, took in answers), 2),
        "rush_pages": len(rush),  # while the submits are taken: no bound, but worth knowing
        "rush_page_max_ms": round(max(ms for _, ms in rush), 1) if rush else None,
        "pages": len(pages),
        "page_statuses": dict(Counter(str(status) for status, _ in pages)),
        "page_median_ms": round(statistics.median(ms for _, ms in pages), 1),
        "page_p99_ms": round(statistics.quantiles((ms for _, ms in pages), n=100)[98], 1),
        "page_max_ms": round(max(ms for _, ms in pages), 1),
        "database_connections_max": max(used),
        "database_connections_seen": dict(Counter(str(number) for number in used)),
    }


async def wait_once(http: httpx.AsyncClient, number: int) -> tuple[int, float]:
    """One submit that waits: status and seconds."""
    began = time.monotonic()
    answer = await http.post("/api/v1/images", json={"model": "demo", "prompt": f"waiting {number}"})
    return answer.status_code, time.monotonic() - began


async def count_accepted(database: str, wanted: int, *, seconds: float = 30.0) -> int:
    """Wait until every submit is stored; how many are."""
    until = time.monotonic() + seconds
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while True:
            cursor = await connection.execute("SELECT count(*) FROM generation_generation WHERE status = 'queued'")
            row = await cursor.fetchone()
            found = int(row[0]) if row else 0
            if found >= wanted or time.monotonic() > until:
                return found
            await asyncio.sleep(0.05)


async def look_at_pages(
    *, url: str, cookie: str, database: str, seconds: float, stop: asyncio.Event | None = None
) -> tuple[list[tuple[int, float]], list[int]]:
    """Open pages one after the other: status and milliseconds of each, and the connections in use beside each."""
    found, used = [], []
    until = time.monotonic() + seconds
    headers = {"Cookie": f"studio_session={cookie}"}
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as person,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
    ):
        for page in PAGES:  # templates are compiled at their first use, waiters or not
            await person.get(page)
        while time.monotonic() < until and not (stop and stop.is_set()):
            page = PAGES[len(found) % len(PAGES)]
            began = time.perf_counter()
            answer = await person.get(page)
            found.append((answer.status_code, (time.perf_counter() - began) * 1000))
            used.append(await count_connections(connection))
            await asyncio.sleep(PAUSE_S)
    return found, used


async def count_connections(connection: psycopg.AsyncConnection[Any]) -> int:
    """Database connections of the web process, idle ones too."""
    cursor = await connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'qwenstudio-web-%'"
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


def is_good(counts: dict[str, Any]) -> bool:
    """Everybody waited to the end and got a 202, no page was late, five connections were enough."""
    return bool(
        counts["accepted"] == counts["clients"] == counts["still_waiting_after_the_last_page"]
        and counts["answers"] == {"202": counts["clients"]}
        and counts["shortest_wait_s"] >= counts["wait_s"]
        and set(counts["page_statuses"]) == {"200"}
        and counts["page_max_ms"] < PAGE_MS
        and counts["database_connections_max"] <= CONNECTIONS
    )


def main() -> int:
    """On servers of its own; 1 when a bound was missed."""
    from tests.proofs.studio import own_studio  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-waiters-"))
    with own_studio(folder) as studio:
        counts = asyncio.run(
            measure(
                url=studio.url, secret=studio.worker_secret, cookie=studio.visitor_cookie, database=studio.superuser_url
            )
        )
    good = is_good(counts)
    write_record("waiters", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
