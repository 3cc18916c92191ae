"""Draining a worker that really runs: it ends what it holds, claims no more, stays, and comes back when told."""

from __future__ import annotations

import json

from redis import Redis

from accounts.tenancy import across_tenants
from generation.domain.workers import drain_worker, undo_drain
from generation.models import Worker
from tests.chaos.rig import Rig, Submit, row_of, wait_for, wait_until
from tests.factories import Person


def state_of(rig: Rig, name: str = "worker") -> str:
    ((state,),) = rig.ask("SELECT state FROM generation_worker WHERE pid = %s", rig.children[name].pid)
    return str(state)


def worker_of(rig: Rig, name: str = "worker") -> Worker:
    return Worker.objects.get(pid=rig.children[name].pid)


def test_drained_worker_finishes_claims_no_more_and_comes_back(rig: Rig, alice: Person, submit: Submit) -> None:
    child = rig.start_worker(SLEEPING_STEP_S="0.4", SLEEPING_DECODE_S="1")
    rig.wait_for_worker()
    running = submit(alice)
    wait_for(rig, running, "running")
    with across_tenants():
        drain_worker(worker_of(rig).pk)
        drain_worker(worker_of(rig).pk)  # a second time changes nothing
    waiting = submit(alice, prompt="later", num_inference_steps=5)

    wait_for(rig, running, "succeeded")  # its pass and its tail
    wait_until(lambda: state_of(rig) == "drained", seconds=60, what=rig.log("worker"))
    assert row_of(rig, waiting, "status", "fence") == ("queued", 0)
    assert row_of(rig, running, "attempt", "lost") == (0, 0)
    assert child.poll() is None

    with across_tenants():
        undo_drain(worker_of(rig).pk)
    wait_for(rig, waiting, "succeeded")
    wait_until(lambda: state_of(rig) == "idle", seconds=60, what=rig.log("worker"))
    events = rig.ask("SELECT action, target, detail FROM accounts_auditevent WHERE action LIKE 'worker.%%' ORDER BY id")
    worker = worker_of(rig)
    detail = {"name": worker.name, "lane": "blue", "pool": "demo"}
    target = f"worker:{worker.pk}"
    assert [(action, to, json.loads(json.dumps(what))) for action, to, what in events] == [
        ("worker.drained", target, detail),
        ("worker.undrained", target, detail),
    ]


def test_drained_worker_leaves_work_and_wake_ups_to_others_and_ends_when_asked(
    rig: Rig, alice: Person, submit: Submit
) -> None:
    rig.start_worker()
    rig.wait_for_worker()
    with across_tenants():
        drain_worker(worker_of(rig).pk)
    wait_until(lambda: state_of(rig) == "drained", seconds=60, what=rig.log("worker"))
    child = rig.start_worker("second")
    rig.wait_for_worker(pid=child.pid)
    for number in range(3):
        wait_for(rig, submit(alice, prompt=f"number {number}"), "succeeded")
    assert rig.ask("SELECT sum(passes)::int FROM generation_worker WHERE pid = %s", rig.children["worker"].pid) == [
        (0,)
    ]
    assert rig.end("worker") == 0


def test_who_waits_for_a_wake_up_is_told_at_once(alice: Person, redis: Redis) -> None:
    """A worker that has nothing to draw would look for its drain only after its wait."""
    with across_tenants():
        worker = Worker.objects.create(name="idle", pid=1, lane="green", pool="demo", state="idle")
        drain_worker(worker.pk)
        assert redis.llen("rq:queue:gpu-green-demo") == 1
        drain_worker(worker.pk)
        assert redis.llen("rq:queue:gpu-green-demo") == 1, "asking twice changes nothing"
