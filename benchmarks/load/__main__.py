"""50 and 200 clients for ten minutes each before the installed studio, then the same load before the Flask pattern.

    python -m benchmarks.load [--minutes 10] [--clients 50 200] [--only studio peer]

Everything is this machine's: deploy/install into a folder, `manage.py up --from-units`, nginx with TLS, Locust
(`deploy/load/locustfile.py`, one process), one after the other. The studio's GPU worker runs the demo model on one
thread at nice 19; the peer's two workers draw on one thread each. Targets: no failure; p95 of pages and API at most
500 ms with 50 clients, 1,500 ms with 200. What is accepted must be finished once. Prints and keeps JSON; 1 when missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.load import peer, studio
from benchmarks.results import ROOT, keep, options_of, surroundings
from qwenstudio.embedded import Services
from tests.needs import INSTALL, find_nginx
from tests.proofs.studio import own_database

RATE = 2.0
"""New clients a second: each person signs in, which takes a third of a second of a core."""
STOP_S = 45
"""Longer than the longest request: a submit that waits would end with a picture that nobody knows of."""
TARGET_MS = {50: 500.0, 200: 1500.0}
FILES = {"studio": "deploy/load/locustfile.py", "peer": "benchmarks/load/peer_locust.py"}


def main() -> int:
    """Measure, print, keep; 1 when a target is missed."""
    parser = options_of("load", __doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each run, once all clients are there")
    parser.add_argument("--clients", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--only", nargs="+", choices=("studio", "peer"), default=["studio", "peer"])
    parser.add_argument("--think", type=float, default=8.0, help="seconds between two things a client does, mean")
    parser.add_argument("--nice", type=int, default=19, help="of the GPU worker")
    options = parser.parse_args()
    if find_nginx() is None:
        raise SystemExit(f"nginx is missing; install it: {INSTALL['nginx']}")
    before = surroundings() | {"versions": versions()}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        with own_database(folder / "servers") as services:
            if "studio" in options.only:
                runs += measure_studio(folder, services, options)
            if "peer" in options.only:
                runs += measure_peer(folder, options)
    missed = [text for run in runs for text in run["missed"]]
    keep(
        {
            **before,
            "minutes": options.minutes,
            "think_s": options.think,
            "gpu_nice": options.nice,
            "missed": missed,
            "runs": runs,
        },
        options.out,
    )
    return 1 if missed else 0


def versions() -> dict[str, str]:
    """Of what the figures depend on beside the usual."""
    nginx = subprocess.run([str(find_nginx()), "-v"], capture_output=True, text=True).stderr.strip()
    names = ("granian", "locust", "geventhttpclient", "gunicorn", "flask", "torch", "diffusers")
    return {"nginx": nginx.rpartition("/")[2], **{name: metadata.version(name) for name in names}}


def measure_studio(folder: Path, services: Services, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each number of clients; what was accepted is looked after when the clients have gone."""
    found = []
    accounts = folder / "studio-accounts"
    studio.make_accounts(accounts, max(options.clients))
    with studio.installed_studio(folder / "root", services, nice=options.nice) as site:
        for clients in options.clients:
            cpu, there = studio.cpu_of(site.installed), studio.count_generations(services.superuser_url)
            run = run_locust("studio", site.url, accounts, folder, clients, options)
            run["cpu_s"] = grown(cpu, studio.cpu_of(site.installed))
            run["memory_mb"] = studio.memory_of(site.installed)
            run["drawn_after_s"] = round(studio.wait_until_drawn(services.superuser_url), 1)
            media = site.installed.layout.media
            run["after"] = studio.look_after(services.superuser_url, run.pop("generations"), media, before=there)
            run["missed"] = targets_missed(run)
            found.append(run)
    return found


def measure_peer(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The same load; nothing is asked of it."""
    found = []
    accounts = folder / "peer-accounts"
    write_peer_accounts(accounts, max(options.clients))
    for clients in options.clients:  # each from nothing, as the backlog of one run would be the next one's
        with peer.running_peer(folder / f"peer-{clients}", accounts) as running:
            cpu = running.cpu()
            run = run_locust("peer", running.url, accounts, folder, clients, options)
            run["cpu_s"] = grown(cpu, running.cpu())
            run["memory_mb"] = running.memory()
            del run["generations"]
            run["missed"] = []
            found.append(run)
    return found


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What each has used meanwhile; one that was started anew counts from nothing."""
    return {name: round(max(value - before.get(name, 0.0), 0.0), 1) for name, value in after.items()}


def write_peer_accounts(file: Path, clients: int) -> None:
    """People and keys, as the studio has them."""
    password = os.urandom(12).hex()
    lines = [
        f"client-{number}@example.com {password}\nkey-{number}-{os.urandom(12).hex()}" for number in range(clients)
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_locust(
    whose: str, url: str, accounts: Path, folder: Path, clients: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One run in a process of its own, and what it counted."""
    record = folder / f"{whose}-{clients}.json"
    seconds = clients / RATE + 60 * options.minutes
    line = [sys.executable, "-m", "locust", "-f", FILES[whose], "--host", url, "--headless", "--only-summary"]
    line += ["--users", str(clients), "--spawn-rate", str(RATE), "--run-time", f"{seconds:.0f}s", "--loglevel", "ERROR"]
    line += ["--think", str(options.think), "--stop-timeout", str(STOP_S), "--record", str(record)]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment |= {"STUDIO_ACCOUNTS": str(accounts), "PYTHONWARNINGS": "ignore"}
    print(f"== {whose}, {clients} clients, {seconds:.0f} s", flush=True)
    began = time.monotonic(), os.times()
    done = subprocess.run(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-6000:], flush=True)
    if not record.exists():
        raise SystemExit(f"locust ended with {done.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - began[1].children_user - began[1].children_system
    return {"whose": whose, **studio.load_json(record), "seconds": round(time.monotonic() - began[0], 1),
            "locust_cpu_s": round(cpu, 1), "load_after": [round(load, 2) for load in os.getloadavg()]}  # fmt: skip


def targets_missed(run: dict[str, Any]) -> list[str]:
    """In words."""
    clients, found = run["clients"], []
    if not run["all_came"]:
        found.append(f"{clients} clients: not all of them came")
    if run["failed"]:
        found.append(f"{clients} clients: {run['failed']} of {run['requests']} requests failed")
    target = TARGET_MS.get(clients, min(TARGET_MS.values()) if clients < min(TARGET_MS) else max(TARGET_MS.values()))
    for group in ("page", "api"):
        p95 = run["groups"].get(group, {}).get("p95_ms", 0.0)
        if p95 > target:
            found.append(f"{clients} clients: p95 of {group} {p95:.0f} ms, target {target:.0f} ms")
    after = run["after"]
    if after.get("finished_once", 0) != after["accepted"]:
        found.append(f"{clients} clients: {after.get('finished_once', 0)} of {after['accepted']} finished once")
    return found


if __name__ == "__main__":
    sys.exit(main())
