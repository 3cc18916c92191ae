"""`python -m tests.proofs.switches`: lanes are switched ten times under 30,000 requests, and nobody notices.

An installed server behind its nginx: 50 clients over TLS (pages, lists, pictures, submits), 20 open event streams. Two
whole releases are started, promoted, taken back, promoted again, and finished; nginx is reloaded twenty times besides.
Nothing may fail, every stream must tell the end of everything, and every accepted generation must be drawn, stored
and charged once. How long a rollback takes until nginx leads elsewhere is measured on the way.

The engine sleeps instead of computing, in the product's own worker: what is proved is everything around it.
"""

from __future__ import annotations

import http.client
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proofs.record import write_record

REQUESTS = 30_000
CLIENTS = 50
STREAMS = 20
VISITORS = 10
EVERY_S = 0.5  # each client's pace: a hundred requests a second, where the machine can do that
ROUNDS = (5, 5)  # switches of each release; the last one of each leads on
RELOADS = 20
MOVE_S = 1.0
ROLLBACK_S = 5.0
SUBMITS = 0.04
PROVES = (
    "generation/releases",
    "qwenstudio/proxy",
    "qwenstudio/releasing.py",
    "qwenstudio/units",
    "qwenstudio/door",
    "deploy/systemd",
    "deploy/nginx",
    "tests/deploy/crowd.py",
    "tests/deploy/server.py",
)
MOVED = {"promote": r"the move took (\d+) ms", "rollback": r"were moved in (\d+) ms"}


@dataclass
class Switch:
    """One move of everybody to the other lane, from the moment that the command was typed."""

    what: str
    lane: str
    move_ms: int
    """The reload of nginx until the new state was in force, as the command says."""
    led_s: float
    """Until nginx named the other lane."""
    ended_s: float


@dataclass
class Operator:
    """Types releases while a crowd is there; `steps` is when: each waits for its share of the requests."""

    server: Any
    crowd: Any
    requests: int
    switches: list[Switch] = field(default_factory=list)
    reloads: int = 0
    said: list[str] = field(default_factory=list)

    def run(self, *, rounds: Sequence[int], reloads: int) -> None:
        """All releases, one after the other."""
        turns, turn = sum(rounds), 0
        for number, switches in enumerate(rounds):
            target = "green" if number % 2 == 0 else "blue"
            self._type("start", target, "--release", f"release-{number + 2}")
            for count in range(switches):
                turn += 1
                self.crowd.wait_for(self.requests * turn // (turns + 1))
                self._switch("promote" if count % 2 == 0 else "rollback", target)
                while self.reloads < reloads * turn // turns:
                    self.server.reload()
                    self.reloads += 1
                    time.sleep(0.3)
            self._type("drain", "blue" if target == "green" else "green")
            self._type("finish")

    def _type(self, *words: str) -> Any:
        typed = self.server.release(*words)
        self.said.append(f"{' '.join(words)}: {typed.seconds:.1f} s")
        return typed

    def _switch(self, what: str, target: str) -> None:
        lane = target if what == "promote" else ("blue" if target == "green" else "green")
        led: list[float] = []
        began = time.monotonic()
        watcher = threading.Thread(target=watch, args=(self.server.nginx.site.http_port, lane, began, led))
        watcher.start()
        typed = self._type(what, *([target] if what == "promote" else []))
        watcher.join(10)
        self.switches.append(Switch(what, lane, typed.ms(MOVED[what]), led[0], typed.seconds))


def watch(port: int, lane: str, began: float, led: list[float]) -> None:
    """Ask nginx which lane it leads to until it is this one."""
    while time.monotonic() - began < 120:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(
                "GET", "/.well-known/studio-lane", headers={"Host": "studio.test", "Connection": "close"}
            )
            if f'"{lane}"' in connection.getresponse().read().decode():
                led.append(time.monotonic() - began)
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.02)


def switch_lanes(
    server: Any,
    visitors: Sequence[Any],
    *,
    folder: Path,
    requests: int = REQUESTS,
    clients: int = CLIENTS,
    streams: int = STREAMS,
    every_s: float = EVERY_S,
    rounds: Sequence[int] = ROUNDS,
    reloads: int = RELOADS,
) -> dict[str, Any]:
    """Switch under load, then compare what the clients were told with rows, files and ledger; raw counts."""
    from tests.chaos.audit import audit
    from tests.deploy.crowd import crowd
    from tests.deploy.installed import wait_for

    for number in range(len(rounds)):
        server.add_release(f"release-{number + 2}")
    log = folder / "clients.jsonl"
    began = time.monotonic()
    with crowd(
        server.nginx, visitors, log=log, clients=clients, streams=streams, submits=SUBMITS, every_s=every_s
    ) as found:
        operator = Operator(server, found, requests)
        operator.run(rounds=rounds, reloads=reloads)
        found.wait_for(requests)
        found.stop_asking()
        took = time.monotonic() - began
        wait_for(lambda: not count_open(server), seconds=120, what="everything to be drawn")
        found.wait_for_streams()
    result = audit(log=log, url=server.services.superuser_url, media=server.layout.media)
    return {
        **found.as_json(),
        "loaded_s": round(took, 1),
        "requests_a_second": round(found.counts.requests / took, 1),
        "switches": len(operator.switches),
        "reloads_besides": operator.reloads,
        **count_seconds(operator.switches),
        "commands": operator.said,
        "audit": result.as_json(),
    }


def count_open(server: Any) -> int:
    """Generations that wait or are being drawn."""
    import psycopg

    sql = "SELECT count(*) FROM generation_generation WHERE status IN ('queued', 'running')"
    with psycopg.connect(server.services.superuser_url, autocommit=True) as connection:
        row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0


def count_seconds(switches: Sequence[Switch]) -> dict[str, Any]:
    """Median and longest of each kind, in seconds."""

    def both(values: Sequence[float]) -> dict[str, float]:
        return {"p50": round(statistics.median(values), 2), "max": round(max(values), 2)} if values else {}

    back = [one for one in switches if one.what == "rollback"]
    return {
        "nginx_move_s": both([one.move_ms / 1000 for one in switches]),
        "rollback_until_led_s": both([one.led_s for one in back]),
        "rollback_command_s": both([one.ended_s for one in back]),
        "promote_until_led_s": both([one.led_s for one in switches if one.what == "promote"]),
    }


def is_lossless(counts: dict[str, Any]) -> bool:
    """Nothing failed, nothing was missed, everything was finished once."""
    result = counts["audit"]
    return bool(
        counts["failed"] == 0
        and counts["failures"] == counts["stream_failures"] == []
        and counts["ends_not_told"] == 0
        and counts["streams_that_resumed"] == counts["streams"]
        and not result["faults"]
        and result["sent"] == result["accepted"] == result["rows"] == result["succeeded"]
        and result["images_asked"] == result["images_stored"] == result["ledger_images"]
    )


def is_good(counts: dict[str, Any]) -> bool:
    """As many as were wanted, without a loss and in time."""
    return bool(
        is_lossless(counts)
        and counts["requests"] >= REQUESTS
        and counts["switches"] == sum(ROUNDS)
        and counts["reloads_besides"] >= RELOADS
        and counts["nginx_move_s"]["max"] < MOVE_S
        and counts["rollback_until_led_s"]["max"] < ROLLBACK_S
    )


def main() -> int:
    """On servers of its own; 1 when anything was lost or late."""
    from tests.proofs.studio import own_database  # it prepares the environment that Django reads

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-switches-"))
    with own_database(folder) as services:
        from tests.chaos.rig import offer_sleeping_model
        from tests.deploy.crowd import make_visitors
        from tests.deploy.server import running_server

        offer_sleeping_model()
        visitors = make_visitors(VISITORS)
        with running_server(folder / "server", services) as server:
            counts = switch_lanes(server, visitors, folder=folder)
            good = is_good(counts)
            if not good:
                keep = Path(tempfile.mkdtemp(prefix="qwenstudio-switches-logs-"))
                shutil.copy(server.installed.log, keep)
                shutil.copytree(server.nginx.places.logs, keep / "nginx")
                print(f"logs are kept in {keep}", file=sys.stderr)
    write_record("switches", proves=PROVES, counts={"passed": good, **counts}, seconds=time.monotonic() - began)
    print(counts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
