"""A model for every test of the API."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _model(db: None) -> None:
    from tests.chaos.rig import offer_sleeping_model  # needs Django, which is set up after this file is read

    offer_sleeping_model()
