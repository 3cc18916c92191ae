"""The chaos proof in small: kills, a flush and a frozen Valkey under load; then the auditor looks.

`tests/proofs/chaos.py` is the long run, by HTTP. Here clients submit through the domain and leases are short.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from qwenstudio.embedded import Services
from tests.chaos.audit import audit
from tests.chaos.rig import Keeper, Rig, offer_sleeping_model, wait_until
from tests.factories import Person

CLIENTS = 4
EACH = 5
LEASE_S = 5


def run_client(number: int, person: Person, log: Path, lock: threading.Lock) -> None:
    """Submit through the domain and write down each answer before going on."""
    from django.db import connection

    from accounts.errors import StudioError
    from generation.domain.request import GenerationRequest
    from generation.domain.submit import submit_generation

    for turn in range(EACH):
        n = 1 + (number + turn) % 2
        entry: dict[str, Any] = {"client": number, "tenant": str(person.tenant.pk), "n": n}
        request = GenerationRequest(model="demo", prompt=f"picture {number} {turn}", width=64, height=64, n=n)
        try:
            entry |= {"id": str(submit_generation(caller=person.key_caller, request=request).id), "status": 202}
        except StudioError as error:
            entry |= {"id": None, "status": 0, "detail": error.message}
        with lock, log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        connection.close()
        time.sleep(0.3)


@pytest.mark.timeout(300)
def test_kills_flush_and_freeze_lose_nothing(
    services: Services, alice: Person, mallory: Person, tmp_path: Path, media: Path
) -> None:
    offer_sleeping_model()
    rig, log, lock = Rig(services, tmp_path / "logs"), tmp_path / "clients.jsonl", threading.Lock()
    try:
        rig.start_ticker()
        keeper = Keeper(rig, lease=LEASE_S, SLEEPING_STEP_S="0.1")
        rig.wait_for_worker(seconds=90)
        clients = [
            threading.Thread(target=run_client, args=(number, (alice, mallory)[number % 2], log, lock))
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        kills = int(keeper.kill_at_work())
        with redis_client.Redis.from_url(services.redis_url) as connection:
            connection.flushall()
        with rig.frozen_valkey():
            time.sleep(2)
        for client in clients:
            client.join()
        kills += keeper.kill_at_work(seconds=20)
        wait_until(
            lambda: rig.count("queued", "running") == 0,
            seconds=150,
            what=f"everything to end\n{rig.log('worker')[-3000:]}",
        )
        # The last kill may have met a worker whose rows had just ended: the next one is to be there before it is asked.
        wait_until(keeper.has_a_worker, seconds=90, what=f"the worker to be back\n{rig.log('worker')[-3000:]}")
        keeper.stop()
        assert rig.end("worker", seconds=60) == 0
        assert rig.end("ticker", seconds=60) == 0
        cleaner = rig.start("sweep", "manage.py", "sweep", "--files-older-than", "0", role="ticker")
        assert cleaner.wait(90) == 0, rig.log("sweep")
    finally:
        rig.close()
    found = audit(log=log, url=services.superuser_url, media=media)
    assert kills >= 1
    assert found.faults == []
    assert found.sent == found.accepted == found.rows == found.succeeded == CLIENTS * EACH
    assert found.images_asked == found.images_stored == found.ledger_images


@pytest.mark.timeout(120)
def test_auditor_sees_planted_faults(services: Services, alice: Person, tmp_path: Path, media: Path) -> None:
    """Without this the zeros above would prove nothing."""
    offer_sleeping_model()
    rig, log = Rig(services, tmp_path / "logs"), tmp_path / "clients.jsonl"
    try:
        rig.start_worker()
        run_client(0, alice, log, threading.Lock())
        wait_until(lambda: rig.count("succeeded") == EACH, seconds=90, what=rig.log("worker"))
    finally:
        rig.close()
    assert audit(log=log, url=services.superuser_url, media=media).faults == []

    def faults() -> str:
        return " ".join(audit(log=log, url=services.superuser_url, media=media).faults)

    file = next(path for path in media.rglob("*.png"))
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    assert "file is missing or another one" in faults()
    file.write_bytes(data)
    (file.parent / "stray.png").write_bytes(data)
    assert "file without a row" in faults()
    (file.parent / "stray.png").unlink()
    rig.ask("UPDATE accounts_ledgerentry SET amount = amount + 1 WHERE kind = 'settle' AND metric = 'images'")
    assert "images for" in faults()
    rig.ask("UPDATE accounts_ledgerentry SET amount = amount - 1 WHERE kind = 'settle' AND metric = 'images'")
    rig.ask("DELETE FROM generation_receipt")
    assert "no receipt" in faults()
    rig.ask(
        "UPDATE generation_generation SET status = 'failed'"
        " WHERE id = (SELECT min(id::text)::uuid FROM generation_generation)"
    )
    assert "failed:" in faults()
    with log.open("a", encoding="utf-8") as stream:
        lost = {"client": 9, "tenant": str(alice.tenant.pk), "n": 1, "status": 202}
        stream.write(json.dumps(lost | {"id": "00000000-0000-7000-8000-000000000000"}) + "\n")
    assert "lost: 00000000" in faults()
