"""The long chaos run: `python -m tests.proofs.chaos [seeds…]`.

20 clients submit 200 generations over two tenants by HTTP while the GPU worker is killed with -9 five times, Valkey is
flushed once and frozen for 10 s once. The auditor then compares the clients' own log with rows, files and ledger.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from qwenstudio.embedded import Services, start
from tests.chaos.audit import Audit, audit
from tests.chaos.rig import Keeper, Rig, offer_sleeping_model, wait_until
from tests.database import begin_migrations
from tests.proofs.record import write_record

CLIENTS = 20
EACH = 10
KILLS = 5
FROZEN_S = 10.0
STEP_S = "0.15"
PROVES = ("generation/worker", "generation/domain", "generation/queue", "accounts/domain/quotas.py", "tests/chaos")


class Log:
    """The clients' own append-only log: one line per answer, on disk before the client goes on."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._stream = file.open("a", encoding="utf-8")

    def write(self, **entry: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps(entry) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())


def run_client(*, number: int, seed: int, url: str, tenant: str, secret: str, log: Log) -> None:
    """Ten submits with pauses; no second try, so every answer counts."""
    chance = random.Random(f"{seed}-{number}")
    with httpx.Client(base_url=url, timeout=30, headers={"Authorization": f"Bearer {secret}"}) as http:
        for turn in range(EACH):
            n = chance.choice((1, 1, 1, 2, 3))
            body = {"model": "demo", "prompt": f"picture {number} {turn}", "width": 64, "height": 64, "n": n}
            began = time.perf_counter()
            try:
                answer = http.post("/api/v1/images", json=body, headers={"Idempotency-Key": f"{seed}-{number}-{turn}"})
                status, found = answer.status_code, answer.json()
            except (httpx.HTTPError, ValueError) as error:
                status, found = 0, {"id": None, "error": repr(error)}
            log.write(
                client=number, tenant=tenant, status=status, id=found.get("id"), n=n,
                ms=round(1000 * (time.perf_counter() - began)), detail=None if status == 202 else found,
            )  # fmt: skip
            time.sleep(chance.uniform(1.0, 8.0))


def disturb(*, rig: Rig, keeper: Keeper, seed: int, done: dict[str, int]) -> None:
    """Five kills while rows are held, one flush, one freeze, in a random order."""
    chance = random.Random(f"disturb-{seed}")
    plan = ["kill"] * KILLS + ["flush", "freeze"]
    chance.shuffle(plan)
    for act in plan:
        time.sleep(chance.uniform(1.0, 3.0))
        if act == "kill":
            done["kills"] += keeper.kill_at_work(seconds=90)
        elif act == "flush":
            import redis

            with redis.Redis.from_url(rig.services.redis_url) as client:
                client.flushall()
            done["flushes"] += 1
        else:
            with rig.frozen_valkey():
                time.sleep(FROZEN_S)
            done["freezes"] += 1


def run_seed(
    *, seed: int, services: Services, folder: Path, media: Path, port: int, before: list[str]
) -> dict[str, Any]:
    """One run; returns its raw counts and adds its tenants to those of the runs `before`."""
    from tests.factories import make_key, make_plan, make_tenant

    since = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime())
    plan = make_plan(requests_per_minute=100_000, tenant_requests_per_minute=100_000, queue_length=10_000)
    people = [make_tenant(f"Chaos {seed} {name}", plan=plan) for name in "AB"]
    secrets = [(str(tenant.pk), make_key(tenant, owner)[1]) for tenant, owner in people]
    from django.db import connections

    connections.close_all()
    rig = Rig(services, folder / f"seed-{seed}")
    log_file = rig.folder / "clients.jsonl"
    log = Log(log_file)
    url = f"http://127.0.0.1:{port}"
    try:
        rig.start_web(port)
        rig.start_ticker()
        keeper = Keeper(rig, lease=30, SLEEPING_STEP_S=STEP_S)
        rig.wait_for_worker()
        wait_until(lambda: answers(url), seconds=60, what=f"a web that answers\n{rig.log('web')}")
        began = time.monotonic()
        done = {"kills": 0, "flushes": 0, "freezes": 0}
        threads = [
            threading.Thread(
                target=run_client,
                kwargs={
                    "number": number, "seed": seed, "url": url, "log": log,
                    "tenant": secrets[number % 2][0], "secret": secrets[number % 2][1],
                },
            )
            for number in range(CLIENTS)
        ]  # fmt: skip
        threads.append(
            threading.Thread(target=disturb, kwargs={"rig": rig, "keeper": keeper, "seed": seed, "done": done})
        )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        open_sql = "SELECT count(*) FROM generation_generation WHERE status IN ('queued', 'running')"
        try:
            wait_until(lambda: rig.ask(open_sql)[0][0] == 0, seconds=240, what="everything to end")
        except AssertionError as error:
            done["unfinished"] = int(str(rig.ask(open_sql)[0][0]))
            print(error, file=sys.stderr)
        took = time.monotonic() - began
        keeper.stop()
        code = rig.end("worker")
        clean_orphans(rig)
        result: Audit = audit(log=log_file, url=services.superuser_url, media=media, since=since, before=before)
        before += [tenant for tenant, _ in secrets]
        return {
            "seed": seed, **result.as_json(), **done, "restarts": keeper.restarts, "worker_exit": code,
            "seconds": round(took, 1), "slowest_submit_ms": slowest(log_file),
        }  # fmt: skip
    finally:
        rig.close()


def clean_orphans(rig: Rig) -> None:
    """What the janitor does once an hour, now: files of killed workers that no row owns."""
    if rig.start("sweep", "manage.py", "sweep", "--files-older-than", "0", role="ticker").wait(120):
        raise RuntimeError(f"manage.py sweep failed:\n{rig.log('sweep')}")


def slowest(log_file: Path) -> int:
    return max(json.loads(line)["ms"] for line in log_file.read_text(encoding="utf-8").splitlines())


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(seeds: list[int]) -> int:
    """Run all seeds on servers of their own; prints the raw counts as JSON. 1 when anything was wrong."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-chaos-"))
    services = start(folder / "var", log=lambda text: None, tie=True)
    try:
        port = free_port()
        media = folder / "media"
        os.environ.update(services.environment())
        os.environ.update(
            STUDIO_VAR=str(folder / "var"), STUDIO_MEDIA=str(media), STUDIO_PROCESS="web", STUDIO_PORT=str(port),
            DJANGO_SETTINGS_MODULE="qwenstudio.settings",
        )  # fmt: skip
        output, _ = (migrations := begin_migrations()).communicate()
        if migrations.returncode:
            raise SystemExit(f"migrate failed:\n{output}")
        import django  # the environment is complete now

        django.setup()
        offer_sleeping_model()
        before: list[str] = []
        runs = [
            run_seed(seed=seed, services=services, folder=folder, media=media, port=port, before=before)
            for seed in seeds
        ]
    finally:
        services.stop()
    good = all(is_good(run) for run in runs)
    write_record(
        "chaos",
        proves=PROVES,
        counts={"passed": good, "clients": CLIENTS, "each": EACH, "runs": runs},
        seconds=time.monotonic() - began,
    )
    print(json.dumps(runs, indent=2))
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs are kept in {folder}", file=sys.stderr)
    return 0 if good else 1


def is_good(run: dict[str, Any]) -> bool:
    """Every submit answered 202, each succeeded once, ledger equals images, and everything planned went wrong."""
    wanted = CLIENTS * EACH
    return bool(
        not run["faults"]
        and run["sent"] == run["accepted"] == run["rows"] == run["succeeded"] == wanted
        and run["images_asked"] == run["images_stored"] == run["ledger_images"]
        and (run["kills"], run["flushes"], run["freezes"]) == (KILLS, 1, 1)
    )


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or [1, 2, 3]))
