"""A release step by step: the way that goes well, everything that does not, and a power cut at each place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from accounts.models import AuditEvent
from accounts.tenancy import across_tenants
from generation.enums import ReleaseMode
from generation.errors import ReleaseFailed, ReleaseRefused
from generation.models import Lane, Pool, Release, Worker
from generation.releases import promote as promotion
from generation.releases import ready
from generation.releases.drain import drain_lane
from generation.releases.finish import finish_release
from generation.releases.lanes import adopt_default
from generation.releases.promote import Verdict, promote_lane, roll_back
from generation.releases.start import plan_start, start_lane
from generation.releases.status import say_status
from generation.releases.tools import Migration
from tests.generation.releases.machine import GIB, Machine, PowerCut

SIDE, HAND = ReleaseMode.SIDE_BY_SIDE, ReleaseMode.HAND_OVER


def start(machine: Machine, lane: str = "green", *, timeout_s: float = 2.0, **fields: Any) -> None:
    tools = machine.tools()
    start_lane(plan_start(lane, tools, **fields), tools, timeout_s=timeout_s)


def promote(machine: Machine, lane: str = "green", **fields: Any) -> promotion.Moved:
    return promote_lane(lane, machine.tools(), **{"timeout_s": 2.0} | fields)


def back(machine: Machine) -> promotion.Moved:
    return roll_back(machine.tools(), timeout_s=2.0)


def drain(machine: Machine, lane: str = "blue") -> int:
    return drain_lane(lane, machine.tools(), timeout_s=2.0)


def finish(machine: Machine) -> str:
    return finish_release(machine.tools())


def states() -> dict[str, str]:
    return dict(Lane.objects.values_list("name", "state"))


def status(machine: Machine) -> str:
    return "\n".join(say_status(machine.tools()))


# ---- the way that goes well


def test_a_whole_release_side_by_side(machine: Machine) -> None:
    assert "next: nothing is under way. For a new release: release start green" in status(machine)
    start(machine)
    assert states() == {"blue": "serving", "green": "ready"}
    assert machine.serves() == "blue one", "nobody is led to green yet"
    assert machine.traffic.live == {"blue", "green"}
    assert machine.traffic.sticky
    assert machine.draws() == {"blue", "green"}
    order = [machine.done.index(step) for step in ("collect two", "link green two")]
    assert order == sorted(order)
    moved = promote(machine)
    assert states() == {"blue": "standby", "green": "serving"}
    assert machine.serves() == "green two"
    assert moved.pause_ms is None
    assert machine.current == "green"
    assert machine.done[-1].startswith("restart studio-ticker")
    assert "next: release rollback, if green is not well; else release drain blue" in status(machine)
    assert drain(machine) == 0
    assert machine.draws() == {"green"}
    machine.old = ["0.8", "0.7"]
    assert finish(machine) == "blue"
    assert "no lane is one of these: 0.8, 0.7" in machine.said[-1]
    assert states() == {"blue": "stopped", "green": "serving"}
    assert machine.traffic.live == {"green"}
    assert not machine.traffic.sticky
    assert machine.states_of["studio-web@blue.service"] == "inactive"
    assert machine.enabled == {*machine.lane_units("green"), "studio-ticker.service"}
    found = list(Release.objects.order_by("started_at").values_list("name", "lane", "state"))
    assert found == [("one", "blue", "ended"), ("two", "green", "current")]


def test_the_next_release_goes_into_blue(machine: Machine) -> None:
    for step in (start, promote, drain, finish):
        step(machine)
    machine.releases = ["three", "two", "one"]
    start(machine, "blue")
    promote(machine, "blue")
    assert machine.serves() == "blue three"


def test_hand_over_ends_the_old_workers_before_the_new_ones_load(machine: Machine) -> None:
    Worker.objects.update(memory_used=58 * GIB, memory_total=80 * GIB)
    chosen = plan_start("green", machine.tools())
    assert chosen.fit.mode == HAND
    said = "\n".join(chosen.lines())
    assert "needs 59,392 MiB: it does not fit" in said
    assert "a pause of about 42 s, the last measured loading" in said
    start(machine)
    assert machine.draws() == {"blue"}, "green's pages run, its workers do not"
    machine.done = []
    moved = promote(machine)
    gpu_moves = ("stop studio-gpu@blue-0.service", "start studio-gpu@green-0.service")
    order = [machine.done.index(move) for move in gpu_moves]
    assert order == sorted(order)
    assert machine.done.index("lead to green") > order[1], "green had loaded before anybody was led there"
    assert machine.draws() == {"green"}
    assert moved.pause_ms is not None
    assert Release.objects.get(lane="green").pause_ms == moved.pause_ms
    assert "studio-gpu@blue-0.service" not in machine.enabled, "after a power cut both would load"
    back(machine)
    assert machine.serves() == "blue one"
    assert machine.draws() == {"blue"}
    assert "studio-gpu@green-0.service" not in machine.enabled
    assert "studio-gpu@blue-0.service" in machine.enabled


def test_rollback_goes_back_and_green_may_try_again(machine: Machine) -> None:
    start(machine)
    promote(machine)
    back(machine)
    assert states() == {"blue": "serving", "green": "ready"}
    assert machine.serves() == "blue one"
    assert machine.current == "blue"
    assert Release.objects.get(lane="green").state == "withdrawn"
    promote(machine)
    assert machine.serves() == "green two"


def test_rollback_of_a_drained_lane_lets_its_workers_draw_again(machine: Machine) -> None:
    start(machine)
    promote(machine)
    drain(machine)
    assert machine.draws() == {"green"}
    back(machine)
    machine.states([])
    assert machine.draws() == {"blue", "green"}


def test_another_release_was_installed_in_the_place_of_the_one_that_served(machine: Machine) -> None:
    assert "blue serves, with one" in status(machine)
    machine.links["blue"], machine.releases = "three", ["two", "three"]  # an uninstall, and an installation anew
    machine.stop(machine.lane_units("blue"))
    machine.start(machine.lane_units("blue"))
    assert "blue serves, with three" in status(machine)
    for step in (start, promote, back):
        step(machine)
    assert machine.serves() == "blue three"
    found = Release.objects.order_by("started_at").values_list("name", "state", "detail")
    assert list(found) == [
        ("one", "ended", "three was installed in its place"), ("three", "current", ""), ("two", "withdrawn", ""),
    ]  # fmt: skip


def test_two_who_look_at_once_adopt_it_once(machine: Machine) -> None:
    assert "blue serves, with one" in status(machine)
    machine.links["blue"] = "three"
    known = machine.release_of

    def slowly(lane: str) -> str:
        time.sleep(0.3)
        return known(lane)

    machine.release_of = slowly  # type: ignore[method-assign]

    def look() -> None:
        try:
            adopt_default(machine.tools())
        finally:
            connection.close()

    both = [threading.Thread(target=look) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert Release.objects.filter(name="three").count() == 1


def test_every_step_is_in_the_audit_log(machine: Machine) -> None:
    for step in (start, promote, back, promote, drain, finish):
        step(machine)
    with across_tenants():
        steps = [event.detail["step"] for event in AuditEvent.objects.filter(action="release.step").order_by("id")]
        moves = [
            (event.target, event.detail["from"], event.detail["to"])
            for event in AuditEvent.objects.filter(action="lane.moved").order_by("id")
        ]
    assert steps == [
        "start green", "promote green", "rollback to blue", "promote green", "drain blue", "finish blue",
    ]  # fmt: skip
    assert moves[0] == ("lane:green", "stopped", "starting")
    assert moves[-1] == ("lane:blue", "stopping", "stopped")
    assert ("lane:green", "promoting", "serving") in moves


# ---- what is said twice, too early or without sense


def test_promote_twice_moves_nothing(machine: Machine) -> None:
    start(machine)
    assert not promote(machine).already
    assert promote(machine).already
    assert states() == {"blue": "standby", "green": "serving"}


def test_promote_again_mends_what_the_proxy_says(machine: Machine) -> None:
    start(machine)
    promote(machine)
    before = machine.traffic
    machine.traffic = type(before)("blue", frozenset({"blue"}), sticky=False)
    assert "but green should serve" in status(machine)
    promote(machine)
    assert machine.traffic == before


def test_rollback_without_a_blue_says_what_to_type(machine: Machine) -> None:
    with pytest.raises(ReleaseRefused, match="nothing to roll back to: green is stopped"):
        back(machine)
    for step in (start, promote, drain, finish):
        step(machine)
    with pytest.raises(ReleaseRefused, match="release start blue --release NAME"):
        back(machine)
    assert machine.serves() == "green two"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda machine: start(machine, "blue"), "blue serves"),
        (lambda machine: start(machine, "red"), "no lane 'red'"),
        (lambda machine: start(machine, release="nine"), "not installed; installed: two, one"),
        (promote, "green is stopped, not ready"),
        (lambda machine: drain(machine, "blue"), "blue serves"),
    ],
)
def test_steps_that_do_not_follow_are_refused(machine: Machine, step: Callable[[Machine], Any], words: str) -> None:
    with pytest.raises(ReleaseRefused, match=words):
        step(machine)
    assert states() == {"blue": "serving", "green": "stopped"}
    assert machine.done == []


def test_a_lane_that_stands_by_is_not_started_over(machine: Machine) -> None:
    start(machine)
    promote(machine)
    with pytest.raises(ReleaseRefused, match="blue is standby with one: end that first"):
        start(machine, "blue")


def test_finish_gives_an_unpromoted_release_up(machine: Machine) -> None:
    start(machine)
    assert finish(machine) == "green"
    assert states() == {"blue": "serving", "green": "stopped"}
    assert finish(machine) == "green", "twice changes nothing"
    assert machine.serves() == "blue one"


# ---- releases that are broken


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", r"studio-web@green.service is failed \(log of studio-web@green.service\)"),
        ("503", "did not become ready within .* /readyz says 503 storage: not writable"),
        ("500", "pages on port .*: /sign-in/ says 500 instead of 200; streams on port .*: /api/v1/events says 500"),
        ("late", r"pages on port .*: /sign-in/ took \d+\.\d s, at most 0 s"),
        ("model", "demo is not served yet .* is failed: sleeping: is broken on purpose"),
        ("slow", "did not become ready within .* is loading"),
        ("migration", "relation exists"),
        ("static", "No space left on device"),
    ],
)
def test_a_broken_release_never_gets_a_visitor(
    machine: Machine, fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.faults["two"] = fault
    machine.migrations = [Migration("generation.0009_more")]
    with monkeypatch.context() as patched:
        patched.setattr(ready, "SLOW_S", 0.15 if fault == "late" else 60)
        with pytest.raises(ReleaseFailed, match=words) as refused:
            start(machine, timeout_s=0.3)
    assert "blue serves as before" in str(refused.value)
    assert states() == {"blue": "serving", "green": "failed"}
    assert machine.serves() == "blue one"
    assert machine.traffic.live == {"blue"}
    assert not any(state == "active" for name, state in machine.states_of.items() if "green" in name)
    assert "next: release start green, when it is mended; or release finish" in status(machine)
    machine.faults.clear()
    start(machine)
    assert states()["green"] == "ready"


def test_a_lane_that_died_after_it_was_ready_is_not_promoted(machine: Machine) -> None:
    start(machine)
    machine.kill("studio-web@green.service")
    with pytest.raises(ReleaseFailed, match=r"green was ready and is so no more: .*blue serves as before"):
        promote(machine)
    assert machine.serves() == "blue one"
    assert states() == {"blue": "serving", "green": "failed"}
    start(machine)
    promote(machine)
    assert machine.serves() == "green two"


def test_another_server_on_the_port_is_not_taken_for_green(machine: Machine) -> None:
    start(machine)
    machine.kill("studio-web@green.service")
    machine.links["green"] = "stranger"
    machine.states_of["studio-web@green.service"] = "inactive"
    machine.start(["studio-web@green.service"])
    with pytest.raises(ReleaseFailed, match="this is release stranger of green, not two of green"):
        promote(machine)


@pytest.mark.parametrize("mode", [SIDE, HAND])
def test_a_proxy_that_refuses_leaves_everything_as_it_was(machine: Machine, mode: ReleaseMode) -> None:
    start(machine, mode=mode)
    machine.faults["proxy"] = "nginx refuses: unexpected }"
    with pytest.raises(ReleaseFailed, match="unexpected }"):
        promote(machine)
    machine.faults.clear()
    assert states() == {"blue": "serving", "green": "failed"}
    assert machine.serves() == "blue one"
    machine.states([])
    assert machine.draws() == {"blue"}


def test_a_model_that_does_not_load_in_a_hand_over_brings_the_old_one_back(machine: Machine) -> None:
    start(machine, mode=HAND)
    machine.faults["two"] = "model"
    with pytest.raises(ReleaseFailed, match="is broken on purpose"):
        promote(machine)
    machine.states([])
    assert machine.draws() == {"blue"}
    assert machine.serves() == "blue one"
    assert states() == {"blue": "serving", "green": "failed"}


def test_a_red_verdict_needs_a_reason(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "verdicts", [lambda lane: Verdict(red=True, words=f"{lane} draws black")])
    start(machine)
    with pytest.raises(ReleaseRefused, match="green draws black"):
        promote(machine)
    assert states() == {"blue": "serving", "green": "ready"}
    promote(machine, force="it is night in the pictures")
    assert machine.serves() == "green two"
    with across_tenants():
        event = AuditEvent.objects.get(target="release:promote green against the comparison")
    assert event.detail["why"] == "it is night in the pictures"


def test_a_contracting_migration_is_refused_before_anything_is_done(machine: Machine) -> None:
    machine.migrations = [Migration("generation.0009_less", ("removes generation.image.seed",))]
    with pytest.raises(ReleaseRefused, match=r"removes generation.image.seed.*while one lane runs"):
        start(machine)
    assert machine.done == []
    assert states()["green"] == "stopped"


def test_a_paused_queue_stays_paused(machine: Machine) -> None:
    from generation.domain.pools import pause_pool

    Pool.objects.create(lane="blue", name="demo")
    pause_pool(lane="blue", name="demo", reason="maintenance", by=None)
    start(machine)
    promote(machine)
    assert Pool.objects.get(lane="green", name="demo").paused_reason == "maintenance"


# ---- the power goes

STEPS: dict[str, tuple[list[Callable[[Machine], Any]], Callable[[Machine], Any], dict[str, str]]] = {
    "start": ([], start, {"blue": "serving", "green": "ready"}),
    "promote": ([start], promote, {"blue": "standby", "green": "serving"}),
    "rollback": ([start, promote], back, {"blue": "serving", "green": "ready"}),
    "drain": ([start, promote], drain, {"blue": "drained", "green": "serving"}),
    "finish": ([start, promote, drain], finish, {"blue": "stopped", "green": "serving"}),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [SIDE, HAND])
@pytest.mark.parametrize("name", STEPS)
def test_after_a_power_cut_anywhere_the_same_step_goes_on(machine: Machine, name: str, mode: ReleaseMode) -> None:
    """A lane serves at every moment; `status` says what to type; that brings what an undisturbed step brings."""
    before, step, wanted = STEPS[name]
    machine.migrations = [Migration("generation.0009_more")]
    machine.memory = (GIB, 80 * GIB) if mode == SIDE else (58 * GIB, 80 * GIB)

    def prepare() -> None:
        machine.begin()
        for earlier in before:
            earlier(machine)
        machine.done = []

    prepare()
    step(machine)
    places = 2 * len(machine.done)
    undisturbed = snapshot(machine)
    assert states() == wanted
    # Draining asks nothing of the machine: it is all in the database.
    assert places >= (0 if name == "drain" else 4)
    for place in range(places):
        prepare()
        with pytest.raises(PowerCut) as cut, machine.power_cut(place):
            step(machine)
        where = f"{name}, {cut.value}"
        assert machine.serves() in ("blue one", "green two"), where
        assert list(Lane.objects.values_list("state", flat=True)).count("serving") == 1, where
        words = status(machine).rpartition("next: ")[2]
        assert f"release {name}" in words or machine.draws() == undisturbed["draws"], f"{where}: {words}"
        step(machine)
        assert snapshot(machine) == undisturbed, where


def snapshot(machine: Machine) -> dict[str, Any]:
    machine.states([])
    return {
        "lanes": states(),
        "traffic": machine.traffic,
        "current": machine.current,
        "units": {name: state for name, state in sorted(machine.states_of.items()) if state == "active"},
        "enabled": machine.enabled,
        "draws": machine.draws(),
        "releases": set(Release.objects.exclude(state="ended").values_list("name", "lane", "state")),
    }


@pytest.mark.parametrize("mode", [SIDE, HAND])
def test_a_promotion_that_died_anywhere_can_be_taken_back(machine: Machine, mode: ReleaseMode) -> None:
    machine.memory = (GIB, 80 * GIB) if mode == SIDE else (58 * GIB, 80 * GIB)
    machine.begin()
    start(machine)
    machine.done = []
    promote(machine)
    for place in range(2 * len(machine.done)):
        machine.begin()
        start(machine)
        with pytest.raises(PowerCut) as cut, machine.power_cut(place):
            promote(machine)
        if states()["green"] == "ready":  # it had not begun
            continue
        back(machine)
        machine.states([])
        assert machine.serves() == "blue one", cut.value
        assert "blue" in machine.draws(), cut.value
        assert machine.draws() == {"blue"} or mode == SIDE, cut.value
        assert states() == {"blue": "serving", "green": "ready"}, cut.value
