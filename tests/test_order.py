"""Long files come first, and those that are named are there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.order import LONG, ROOT, begin_with_long_files


def test_every_long_file_is_there() -> None:
    assert [name for name in LONG if not (ROOT / name).is_file()] == []


def test_long_files_come_first_and_the_others_stay_as_they_were() -> None:
    names = ["tests/b.py", LONG[1], "tests/a.py", LONG[0], LONG[1]]
    items = [SimpleNamespace(path=ROOT / name, number=number) for number, name in enumerate(names)]
    begin_with_long_files(cast(Any, items))
    assert [item.number for item in items] == [3, 1, 4, 0, 2]
