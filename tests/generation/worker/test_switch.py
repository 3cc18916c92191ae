"""A worker whose models do not fit together: it follows demand, and whose turn it is decides."""

from __future__ import annotations

import re

from generation.models import Model
from tests.chaos.rig import Rig, Submit, make_entry, row_of, wait_for, wait_until
from tests.factories import Person

LOAD_S = 1.5


def offer_two(size: int) -> None:
    for slug in ("demo", "second"):
        entry = make_entry() | {"memory_bytes": size}
        Model.objects.update_or_create(slug=slug, defaults={"title": slug, "pool": "demo", "spec": entry})


def resident(rig: Rig) -> list[str]:
    ((found,),) = rig.ask("SELECT resident FROM generation_worker WHERE state NOT IN ('stopped', 'failed')")
    return list(found)


def test_models_that_do_not_fit_take_turns_and_nobody_pays_for_loading(rig: Rig, alice: Person, submit: Submit) -> None:
    offer_two(600_000_000)
    rig.start_worker(SLEEPING_LOAD_S=str(LOAD_S))
    rig.wait_for_worker()
    assert resident(rig) == ["demo"]
    assert rig.ask("SELECT serves FROM generation_worker") == [(["demo", "second"],)]
    first = submit(alice)
    wait_for(rig, first, "succeeded")
    other = submit(alice, model="second", prompt="other")
    wait_for(rig, other, "succeeded")
    assert resident(rig) == ["second"]
    again = submit(alice, prompt="again")
    wait_for(rig, again, "succeeded")
    assert resident(rig) == ["demo"]
    for row in (first, other, again):
        assert row_of(rig, row, "attempt", "lost") == (0, 0)
    paid = rig.ask("SELECT max(amount) FROM accounts_ledgerentry WHERE metric = 'gpu_ms' AND kind = 'settle'")
    assert int(str(paid[0][0])) < 1000 * LOAD_S
    ((vtime,),) = rig.ask("SELECT vtime FROM generation_fairclock WHERE tenant = %s", alice.tenant.pk)
    assert float(str(vtime)) < 3 * 1000 * LOAD_S
    assert len(re.findall(r"comes in", rig.log("worker"))) == 2
    assert rig.end("worker") == 0


def test_models_that_fit_are_all_loaded_at_once(rig: Rig, alice: Person, submit: Submit) -> None:
    offer_two(400_000_000)
    rig.start_worker()
    rig.wait_for_worker()
    assert resident(rig) == ["demo", "second"]
    both = submit(alice), submit(alice, model="second", prompt="other")
    for row in both:
        wait_for(rig, row, "succeeded")
    assert "comes in" not in rig.log("worker")


def test_a_model_that_cannot_be_loaded_later_leaves_the_other_served(rig: Rig, alice: Person, submit: Submit) -> None:
    offer_two(600_000_000)
    rig.start_worker(SLEEPING_BROKEN_MODEL="second")
    rig.wait_for_worker()
    broken = submit(alice, model="second", prompt="other")
    wait_until(lambda: "second cannot be loaded" in rig.log("worker"), seconds=60, what=rig.log("worker"))
    good = submit(alice)
    wait_for(rig, good, "succeeded")
    assert row_of(rig, broken, "status", "attempt") == ("queued", 0)
    assert rig.log("worker").count("second cannot be loaded") == 1, "it rests"
