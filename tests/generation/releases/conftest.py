"""Lanes as a fresh studio has them, under the worker's role, as the release commands run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.generation.domain.conftest import as_worker, look, worker  # noqa: F401  (fixtures)

if TYPE_CHECKING:
    from tests.generation.releases.machine import Machine


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing real loads in most of these tests: they look more often, and give up sooner."""
    from generation.releases import drain, promote, ready, workers

    for module in (drain, ready, workers):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(promote, "STILL_READY_S", 1.0)
    monkeypatch.setattr(promote, "WEB_BACK_S", 5.0)


@pytest.fixture
def machine(worker: None) -> Iterator[object]:  # noqa: F811
    """A machine in which blue serves release one, and two is installed."""
    from tests.chaos.rig import offer_sleeping_model
    from tests.generation.releases.machine import Machine

    offer_sleeping_model()
    machine = Machine()
    try:
        machine.begin()
        yield machine
    finally:
        machine.close()


@pytest.fixture
def golden_cases(machine: Machine, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three golden cases of the model on offer (`comparing.py`)."""
    from tests.generation.releases.comparing import prepare_cases

    prepare_cases(machine, monkeypatch)
