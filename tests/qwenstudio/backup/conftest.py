"""A studio of two tenants, and an empty database to restore into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from qwenstudio.embedded import Services
from tests.generation.domain.conftest import as_worker, look

__all__ = ["as_worker", "look"]
EMPTY = "empty_server"


@pytest.fixture
def house(
    alice: Any, bob: Any, mallory: Any, media: Path, as_worker: Callable[[], AbstractContextManager[None]]
) -> Path:
    """Alice with two pictures, Bob with one, Mallory of another tenant with one; the folder of pictures."""
    from tests.chaos.rig import offer_sleeping_model
    from tests.qwenstudio.backup.house import paint

    offer_sleeping_model()
    paint(alice, as_worker, data=b"alice's", n=2)
    paint(bob, as_worker, data=b"bob's")
    paint(mallory, as_worker, data=b"mallory's")
    return media


@pytest.fixture
def empty(services: Services) -> Iterator[str]:
    """The name of an empty database on the tests' server."""
    from tests.qwenstudio.backup.house import drop_database, make_database

    drop_database(services, EMPTY)
    make_database(services, EMPTY)
    yield EMPTY
    drop_database(services, EMPTY)
