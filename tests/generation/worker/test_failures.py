"""A row that fails in a worker's hands leaves that worker's last lines about it, and nothing of the prompt."""

from __future__ import annotations

from tests.chaos.rig import Rig, Submit, wait_for
from tests.factories import Person


def test_each_failed_try_leaves_its_lines(rig: Rig, alice: Person, mallory: Person, submit: Submit) -> None:
    bad = submit(alice, prompt="RAISE SAYING a very private thing")
    good = submit(mallory, prompt="an innocent neighbour")
    rig.start_worker()
    wait_for(rig, bad, "failed", seconds=90)
    wait_for(rig, good, "succeeded")
    rows = rig.ask(
        "SELECT tenant_id, generation_id, code, worker_name, lines, worker IS NOT NULL FROM generation_failure"
    )
    assert len(rows) == 3
    for tenant, generation, code, worker, lines, has_worker in rows:
        assert (tenant, generation, code, has_worker) == (alice.tenant.pk, bad, "engine_error", True)
        assert str(worker).endswith(f"-{rig.children['worker'].pid}")
        text = str(lines)
        assert "row failed: engine_error: the model failed while drawing (RuntimeError)" in text
        assert "very private" not in text and str(good) not in text and "neighbour" not in text
        assert len(text.splitlines()) <= 40 and len(text) <= 8000
    assert "very private" in rig.log("worker")  # where its operator looks
