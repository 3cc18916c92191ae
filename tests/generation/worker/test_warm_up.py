"""Before its first claim a model draws one picture: from nothing, or from a blank one where it needs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from generation.engine.errors import CheckpointError, RowRefused
from generation.engine.inputs import read_input
from generation.engine.outcome import RowOutcome
from generation.engine.request import PassRow
from generation.worker.engine import TorchEngine
from generation.worker.load import warm_up
from generation.worker.passes import Served
from tests.generation.worker.test_shelf import make_spec


@pytest.mark.parametrize("tasks", [("text-to-image",), ("image-to-image",), ("inpaint", "image-to-image")])
def test_a_model_is_warmed_up_by_what_it_does(tasks: tuple[str, ...]) -> None:
    engine = TorchEngine()
    model = engine.load(replace(make_spec("one", 1), tasks=tasks))
    tail = engine.tail(model, lambda name, detail: None)
    try:
        warm_up(Served(model=model, tail=tail), engine)
    finally:
        assert tail.close(60)


class Noting:
    """Says no to a row, once it has read what the row starts from."""

    def __init__(self) -> None:
        self.rows: list[PassRow] = []
        self.sizes: list[tuple[int, int]] = []

    def run(self, model: Any, rows: Sequence[PassRow], hooks: Any) -> Any:
        self.rows += rows
        self.sizes += [read_input(picture, mode="RGB").size for picture in rows[0].images]
        outcome = RowOutcome(key="warm-up", status="failed", error=RowRefused("no"))
        return SimpleNamespace(row=lambda key: outcome)


def test_a_model_that_only_edits_gets_a_picture_that_is_there() -> None:
    spec = replace(make_spec("one", 1), tasks=("edit",), default_width=96)
    engine: Any = Noting()
    served: Any = SimpleNamespace(model=SimpleNamespace(spec=spec))
    with pytest.raises(CheckpointError, match=r"draws nothing that may be delivered \(no\)"):
        warm_up(served, engine)
    assert [row.task for row in engine.rows] == ["edit"] and engine.sizes == [(96, 64)]
