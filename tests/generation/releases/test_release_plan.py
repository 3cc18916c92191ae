"""Side by side or hand-over, from what workers have measured."""

from __future__ import annotations

from typing import Any

import pytest

from generation.enums import ReleaseMode
from generation.models import Model, Worker
from generation.releases.plan import find_fit, judge, last_load_s, required_models
from tests.chaos.rig import make_entry, offer_sleeping_model

GIB = 1024**3


def worker(name: str = "gpu-1", used: int = 30, total: int = 80, **fields: Any) -> dict[str, Any]:
    return {
        "id": name, "name": name, "pool": "demo", "serves": ["demo"], "hardware": "GPU", "device": "GPU",
        "memory_used": used * GIB, "memory_total": total * GIB,
    } | fields  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "declared", "fits"),
    [
        ([worker(used=30)], {}, True),
        ([worker(used=38)], {}, True),
        ([worker(used=39)], {}, False),  # 78 of 80, less the share that fragments
        ([worker(used=30)], {"demo": {"demo": 50 * GIB}}, True),  # measured, not declared
        ([worker(used=30)], {"demo": {"demo": 0, "new": 20 * GIB}}, False),  # a model that came since
        ([worker("gpu-1", 30), worker("gpu-2", 30)], {}, True),  # a GPU each
        ([worker("gpu-1", 10), worker("gpu-2", 60)], {}, False),  # one of them is full
        ([worker("a", 20, 64, hardware="cpu-fp32"), worker("b", 20, 64, hardware="cpu-fp32")], {}, False),  # one memory
        ([worker(used=0, total=0)], {}, False),  # nothing is known
        ([], {}, True),
    ],
)
def test_judgement(workers: list[dict[str, Any]], declared: dict[str, dict[str, int]], fits: bool) -> None:
    found = judge(workers, declared=declared, load_s=40.0, beside="blue")
    assert found.mode == (ReleaseMode.SIDE_BY_SIDE if fits else ReleaseMode.HAND_OVER)
    assert found.why
    assert ("no pause" in found.say_pause()) is fits


def test_a_pause_that_was_never_measured_is_not_invented() -> None:
    found = judge([worker(used=70)], declared={}, load_s=None, beside="blue")
    assert "not measured yet" in found.say_pause()


def add(**fields: Any) -> Worker:
    values = {"name": "gpu", "pid": 1, "lane": "blue", "pool": "demo", "serves": ["demo"], "state": "idle"}
    return Worker.objects.create(**values | fields)


def test_it_is_read_from_the_running_workers(db: None) -> None:
    offer_sleeping_model()
    add(memory_used=50 * GIB, memory_total=80 * GIB, hardware="GPU")
    add(memory_used=80 * GIB, memory_total=80 * GIB, state="stopped")
    assert find_fit(beside="blue").mode == ReleaseMode.HAND_OVER
    assert find_fit(beside="green").mode == ReleaseMode.SIDE_BY_SIDE


def test_the_newest_loading_of_each_pool_counts(db: None) -> None:
    assert last_load_s() is None
    add(load_ms=90_000, started_at="2026-11-01T00:00:00Z")
    add(load_ms=30_000, started_at="2026-11-02T00:00:00Z")
    add(load_ms=40_000, pool="other", lane="green")
    assert last_load_s() == 40.0


def test_a_new_lane_must_serve_what_the_old_one_does(db: None) -> None:
    offer_sleeping_model()
    Model.objects.create(slug="never-served", title="Never", pool="nowhere", spec=make_entry())
    assert set(required_models(lane="green", beside="blue")) == {"demo", "never-served"}
    add()
    assert required_models(lane="green", beside="blue") == ["demo"]
