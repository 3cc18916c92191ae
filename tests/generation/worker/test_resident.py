"""When a worker changes its models: by whose turn it is, within its room, and not too often."""

from __future__ import annotations

import random

from generation.worker.resident import BROKEN_S, LOOK_S, STAY_LOADS, Residents


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(room: int = 10, **sizes: int) -> tuple[Residents, Clock]:
    clock = Clock()
    residents = Residents(sizes, room=room, stay_s=60, clock=clock)
    for slug in residents.first():
        residents.came(slug, load_s=2)
    return residents, clock


def test_models_that_fit_together_all_stay() -> None:
    residents, _ = make(a=4, b=6)
    assert residents.here == ("a", "b") and not residents.switches
    assert not residents.may_look(idle=True)
    unknown, _ = make(a=10, b=0)
    assert unknown.here == ("a", "b"), "one that does not say its size takes none"


def test_the_model_whose_turn_it_is_comes_once_the_other_has_had_its_time() -> None:
    residents, clock = make(a=8, b=8)
    assert residents.here == ("a",) and residents.switches
    assert residents.judge("b", idle=False) is None
    clock.now += 59
    assert residents.judge("b", idle=False) is None
    clock.now += 1
    assert residents.judge("b", idle=False) == "b" and residents.leavers("b") == ["a"]
    assert residents.judge("a", idle=False) is None and residents.judge(None, idle=True) is None


def test_without_work_for_what_is_there_it_comes_at_once() -> None:
    residents, _ = make(a=8, b=8)
    assert residents.judge("b", idle=True) == "b"


def test_a_long_loading_lengthens_the_stay() -> None:
    residents, clock = make(a=8, b=8)
    residents.went("a")
    residents.came("b", load_s=100)
    clock.now += STAY_LOADS * 100 - 1
    assert residents.judge("a", idle=False) is None
    clock.now += 1
    assert residents.judge("a", idle=False) == "a"


def test_the_one_used_longest_ago_goes_and_no_more_than_needed() -> None:
    residents, clock = make(room=10, a=3, b=3, c=3, d=3)
    assert residents.here == ("a", "b", "c")
    clock.now += 1
    residents.used("a")
    clock.now += 1
    residents.used("b")
    assert residents.leavers("d") == ["c"]
    residents.used("c")
    assert residents.leavers("d") == ["a"]
    assert make(room=10, small=1, middle=4, large=10)[0].leavers("large") == ["small", "middle"]


def test_what_another_worker_has_is_left_to_it_for_a_while() -> None:
    residents, clock = make(a=8, b=8)
    clock.now += 100
    assert residents.judge("b", idle=True, elsewhere=True) is None
    clock.now += 59
    assert residents.judge("b", idle=True, elsewhere=True) is None
    clock.now += 1
    assert residents.judge("b", idle=True, elsewhere=True) == "b"
    assert residents.judge("a", idle=True) is None
    assert residents.judge("b", idle=True, elsewhere=True) is None, "its wait begins anew when somebody else was next"


def test_a_model_that_cannot_be_loaded_rests() -> None:
    residents, clock = make(a=8, b=8)
    assert residents.candidates() == ["a", "b"]
    residents.broke("b")
    assert residents.candidates() == ["a"]
    clock.now += BROKEN_S
    assert residents.candidates() == ["a", "b"]


def test_it_looks_once_a_second_while_there_is_work() -> None:
    residents, clock = make(a=8, b=8)
    assert residents.may_look(idle=False) and not residents.may_look(idle=False)
    clock.now += LOOK_S
    assert residents.may_look(idle=False)
    assert residents.may_look(idle=True), "a worker without work asks each time"


def test_two_models_in_endless_demand_load_for_a_sixth_of_the_time_at_most() -> None:
    """An hour of two tenants whose turns alternate: each load takes 15 s, each pass 2 s."""
    residents, clock = make(a=8, b=8)
    rng, loading, loads, drawn = random.Random(1), 0.0, 0, {"a": 0, "b": 0}
    until = clock.now + 3600
    while clock.now < until:
        turn = rng.choice("ab")
        if residents.may_look(idle=False) and (wanted := residents.judge(turn, idle=False)):
            for leaver in residents.leavers(wanted):
                residents.went(leaver)
            clock.now += 15
            loading, loads = loading + 15, loads + 1
            residents.came(wanted, load_s=15)
        (slug,) = residents.here
        residents.used(slug)
        clock.now += 2
        drawn[slug] += 1
    assert 20 <= loads <= 40 and loading / 3600 <= 1 / 6 + 0.01
    assert 0.8 <= drawn["a"] / drawn["b"] <= 1.25
