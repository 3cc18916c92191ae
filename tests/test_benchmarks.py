"""Each benchmark runs from nothing and keeps what it found; small, so that no figure means anything.

The others take minutes, most of them with a whole studio: `make proof NAMES=benchmarks` runs them in small.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proofs.benchmarks import SMALL as PROVED
from tests.proofs.benchmarks import run_small
from tests.proofs.modules import ROOT, program_names

SMALL: dict[str, tuple[str, ...]] = {
    "claim": ("--rows", "400", "--finished", "400", "--tenants", "20", "--claims", "5"),
    "history": ("--rows", "600", "--others", "100", "--rounds", "3", "--pictures", "5", "--picture-kb", "20"),
    "usage": ("--entries", "400", "--rounds", "3"),
}


def test_all_are_listed() -> None:
    assert sorted([*SMALL, *PROVED]) == program_names(ROOT / "benchmarks")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SMALL)
def test_it_keeps_a_result(name: str, tmp_path: Path) -> None:
    assert run_small(name, SMALL[name], tmp_path)
