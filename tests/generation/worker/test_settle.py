"""Whose fault a failure is, and what the person who asked is told."""

from __future__ import annotations

import dataclasses

import pytest

from generation.engine.errors import BadFrame, CatalogError, OutOfMemory, RowRefused
from generation.worker.passes import make_pictures
from generation.worker.settle import explain
from tests.generation.worker.test_leases import make_claimed


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RowRefused("width 144 is over 128"), ("refused", "width 144 is over 128", False)),
        (BadFrame("the picture is black"), ("bad_frame", "the picture is black", False)),
        (OutOfMemory("does not fit"), ("out_of_memory", "does not fit", True)),
        (ValueError("/srv/models: a red house"), ("engine_error", "the model failed while drawing (ValueError)", True)),
        (CatalogError("secret"), ("engine_error", "the model failed while drawing (CatalogError)", True)),
    ],
)
def test_only_what_we_refused_ourselves_is_the_rows_fault(error: Exception, expected: tuple[str, str, bool]) -> None:
    assert explain(error) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 72}, "width 72 is not a multiple of 16"),
        ({"params": {"true_cfg_scale": 90}}, "out of range, 0 to 30"),
    ],
)
def test_row_that_no_engine_can_hold_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RowRefused, match=words):
        make_pictures(dataclasses.replace(make_claimed(), **changes))


def test_broken_parameters_are_no_refusal() -> None:
    with pytest.raises(TypeError):
        make_pictures(dataclasses.replace(make_claimed(), params={"true_cfg_scale": None}))
