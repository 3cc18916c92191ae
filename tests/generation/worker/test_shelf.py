"""Real models come and go: what has gone is gone from memory, and its pictures were stored first."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any
from uuid import uuid4

import pytest

from generation.engine.catalog import ModelSpec
from generation.engine.device import DeviceInfo
from generation.worker.clock import PhaseClock
from generation.worker.engine import TorchEngine
from generation.worker.leases import Leases
from generation.worker.load import NothingToServe
from generation.worker.shelf import Shelf
from generation.worker.stop import StopFlag
from tests.chaos.sleeping import Sleeping

DEMO = "generation/engine/demo/checkpoint"
DEVICE = DeviceInfo(kind="cpu", name="a small one", key="cpu", memory_total=1000, memory_free=1000, bf16=False)


class Notes:
    """What the shelf says of itself, without a database."""

    def __init__(self) -> None:
        self.id = uuid4()
        self.values: dict[str, Any] = {}

    def set(self, **values: Any) -> None:
        self.values |= values

    write = set


def make_shelf(engine: Any) -> tuple[Shelf, Notes]:
    notes, clock = Notes(), PhaseClock()
    leases = Leases(beat=lambda: None, clock=clock)
    shelf = Shelf(
        engine=engine, report=notes, clock=clock, leases=leases, stop=StopFlag(), lane="blue", pool="demo"  # type: ignore[arg-type]
    )  # fmt: skip
    return shelf, notes


def make_spec(slug: str, size: int) -> ModelSpec:
    table = {
        "family": "qwen-image", "path": DEMO, "default_steps": 1, "true_cfg_scale": 1.0, "default_width": 64,
        "default_height": 64, "memory_bytes": size, "scheduler": {"shift": 1.0},
    }  # fmt: skip
    return ModelSpec.from_table(slug, table)


def test_a_model_that_went_leaves_nothing_in_memory(db: None) -> None:
    shelf, notes = make_shelf(TorchEngine())
    shelf.fill([make_spec("one", 600), make_spec("two", 600)], DEVICE, room=0)
    assert notes.values["resident"] == ["one"] and notes.values["serves"] == ["one", "two"]
    served = shelf.take("one")
    gone = [
        weakref.ref(served.model.family),
        weakref.ref(served.model.family._pipe.transformer),
        weakref.ref(served.tail),
    ]
    del served
    assert shelf._swap("two")
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]
    assert shelf.batch_sizes() == {"two": 1} and notes.values["resident"] == ["two"]
    assert not [thread for thread in threading.enumerate() if thread.name == "tail"][1:]
    shelf.close()


def test_pictures_under_way_are_stored_before_their_model_goes(db: None) -> None:
    class Slow(Sleeping):
        def tail(self, model: Any, phase: Any) -> Any:
            made = super().tail(model, phase)
            made._decode_s = 0.8
            return made

    shelf, _ = make_shelf(Slow())
    shelf.fill([make_spec("one", 600), make_spec("two", 600)], DEVICE, room=0)
    stored: list[str] = []
    latents = type("Latents", (), {"key": "x", "prompt": "p", "seed": 1, "width": 64, "height": 64})
    for _ in range(3):
        shelf.take("one").tail.submit(latents, lambda result: stored.append(result.key))
    assert shelf._swap("two")
    assert stored == ["x"] * 3
    shelf.close()


def test_one_that_does_not_fit_alone_is_named() -> None:
    shelf, _ = make_shelf(Sleeping())
    with pytest.raises(NothingToServe, match=r"two: 2,000 bytes needed, a small one has 1,000; name others"):
        shelf.fill([make_spec("one", 600), make_spec("two", 2000)], DEVICE, room=0)
