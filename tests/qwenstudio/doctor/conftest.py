"""The lanes of a fresh studio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def lanes(db: None) -> Iterator[None]:
    """Blue serves, green is stopped; as a fresh studio again afterwards."""
    from tests.qwenstudio.doctor.looking import fresh

    fresh()
    yield
    fresh()
