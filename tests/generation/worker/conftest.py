"""Workers as processes of their own, beside the tests' PostgreSQL and Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from qwenstudio.embedded import Services
from tests.chaos.rig import Rig, Submit, offer_sleeping_model

if TYPE_CHECKING:
    from tests.factories import Person


@pytest.fixture
def rig(db: object, services: Services, tmp_path: Path, media: Path) -> Iterator[Rig]:
    """Children that end with the test, whatever happens in it. The demo slug is served by the sleeping engine."""
    offer_sleeping_model()
    rig = Rig(services, tmp_path / "logs")
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def submit() -> Submit:
    """`submit(person, prompt=…)` through the domain, as the API does; returns the id."""
    from generation.domain.request import GenerationRequest  # this file is read before Django is set up
    from generation.domain.submit import submit_generation

    def send(person: Person, **fields: Any) -> UUID:
        values = {"model": "demo", "prompt": "a red circle", "width": 64, "height": 64, "seed": 7} | fields
        return submit_generation(caller=person.key_caller, request=GenerationRequest(**values)).id

    return send
