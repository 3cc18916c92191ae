"""`python -m tests.proofs.handover`: a release, its rollback and its return where the GPU has room for one model.

An installed server behind its nginx whose worker says that it holds 6 of 10 GiB, so that a second one does not fit: the
release goes by hand-over. A crowd asks for pictures all the time. No request may fail, everything accepted is drawn
once, and the pause, measured from the last picture before it to the first one after it, is at most the loading, one
pass, and the slack: ending one process, starting another and moving nginx.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.proofs.record import write_record

CLIENTS = 10
STREAMS = 10
PAUSE_S = 0.5
LOAD_S = 8
BETWEEN_S = 15.0
SETTLE_S = 5.0
"""After a move, until the first pictures of the other lane are there."""
SLACK_S = 5.0
"""The old worker ends its tail, a Python starts with the studio's code, nginx reloads, the queue is handed over; on two
cores that the crowd shares."""
GIB = 1024**3
PROVES = (
    "generation/releases",
    "generation/worker",
    "generation/domain/place.py",
    "qwenstudio/proxy",
    "qwenstudio/releasing.py",
    "qwenstudio/units",
    "deploy/systemd",
    "tests/deploy/crowd.py",
    "tests/deploy/server.py",
)
PICTURES_SQL = "SELECT created_at FROM generation_image ORDER BY created_at"
PASS_SQL = "SELECT coalesce(extract(epoch FROM max(finished_at - started_at)), 0)::float8 FROM generation_generation"
LOADS_SQL = "SELECT load_ms FROM generation_worker WHERE load_ms IS NOT NULL ORDER BY started_at"


def ask(server: Any, sql: str) -> list[tuple[Any, ...]]:
    """As the database's administrator."""
    import psycopg

    with psycopg.connect(server.services.superuser_url, autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def hand_over(
    server: Any,
    visitors: Sequence[Any],
    *,
    folder: Path,
    clients: int = CLIENTS,
    streams: int = STREAMS,
    between_s: float = BETWEEN_S,
    settle_s: float = SETTLE_S,
) -> dict[str, Any]:
    """A whole release, back, and there again; raw counts."""
    from tests.chaos.audit import audit
    from tests.deploy.crowd import crowd
    from tests.deploy.installed import wait_for
    from tests.proofs.switches import count_open

    server.add_release("two")
    log = folder / "clients.jsonl"
    pauses, places = [], []
    with crowd(
        server.nginx, visitors, log=log, clients=clients, streams=streams, pause_s=PAUSE_S, submits=0.3
    ) as found:
        found.wait_for(5 * clients)
        started = server.release("start", "green", "--release", "two")
        assert "it does not fit" in started.said, started.said
        for words in (("promote", "green"), ("rollback",), ("promote", "green")):
            time.sleep(between_s)
            began = ask(server, "SELECT now()")[0][0]
            command = server.type(*words)
            while command.poll() is None:
                places += read_places(server)
                time.sleep(0.5)
            said = command.communicate()[0]
            assert command.returncode == 0, said
            time.sleep(settle_s)
            pauses.append({"step": " ".join(words), "pause_s": longest_gap(server, began), "said": said[-600:]})
        server.release("drain", "blue")
        server.release("finish")
        time.sleep(between_s)
        found.stop_asking()
        wait_for(lambda: not count_open(server), seconds=120, what="everything to be drawn")
        found.wait_for_streams()
    result = audit(log=log, url=server.services.superuser_url, media=server.layout.media)
    loads = [row[0] / 1000 for row in ask(server, LOADS_SQL)]
    return {
        **found.as_json(),
        "pauses": pauses,
        "loads_s": [round(seconds, 1) for seconds in loads],
        "longest_pass_s": round(ask(server, PASS_SQL)[0][0], 2),
        "slack_s": SLACK_S,
        "allowed_s": round(max(loads) + ask(server, PASS_SQL)[0][0] + SLACK_S, 1),
        "places_read_in_the_pauses": len(places),
        "places_with_a_time": sum(place["eta_ms"] is not None for place in places),
        "reasons": sorted({place["reason"]["code"] for place in places if place["reason"]}),
        "audit": result.as_json(),
    }


def read_places(server: Any) -> list[dict[str, Any]]:
    """What somebody whose picture waits is told just now."""
    import psycopg

    from accounts.tenancy import in_tenant
    from generation.domain.gallery import get_generation

    sql = "SELECT tenant_id, id FROM generation_generation WHERE status = 'queued' ORDER BY id DESC LIMIT 1"
    with psycopg.connect(server.services.superuser_url, autocommit=True) as connection:
        row = connection.execute(sql).fetchone()
    if row is None:
        return []
    with in_tenant(row[0]):
        place = get_generation(row[1])["queue"]
    return [place] if place else []  # drawn meanwhile


def longest_gap(server: Any, since: datetime) -> float:
    """Between two pictures, from the last one before `since` on."""
    times = [row[0] for row in ask(server, PICTURES_SQL)]
    late = [(after - before).total_seconds() for before, after in itertools.pairwise(times) if after > since]
    return round(max(late, default=0.0), 2)


def is_good(counts: dict[str, Any]) -> bool:
    """Nothing lost, no pause too long, and nobody was left without a time."""
    from tests.proofs.switches import is_lossless

    return bool(
        is_lossless(counts)
        and len(counts["pauses"]) == 3
        and all(0 < one["pause_s"] <= counts["allowed_s"] for one in counts["pauses"])
        and counts["places_read_in_the_pauses"] > 0
    )


def main() -> int:
    """On servers of its own; 1 when anything was lost or late."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-handover-"))
    with own_database(folder) as services:
        from tests.chaos.rig import offer_sleeping_model
        from tests.deploy.crowd import make_visitors
        from tests.deploy.server import running_server

        offer_sleeping_model()
        visitors = make_visitors(5)
        with running_server(folder / "server", services, **room_for_one(load_s=LOAD_S)) as server:
            counts = hand_over(server, visitors, folder=folder)
    good = is_good(counts)
    write_record("handover", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


def room_for_one(*, load_s: float) -> dict[str, str]:
    """What the worker says of its GPU."""
    return {
        "SLEEPING_MEMORY_USED": str(6 * GIB),
        "SLEEPING_MEMORY_TOTAL": str(10 * GIB),
        "SLEEPING_LOAD_S": str(load_s),
        "SLEEPING_STEP_S": "0.05",
    }


if __name__ == "__main__":
    sys.exit(main())
