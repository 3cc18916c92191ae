"""What the tests of the account pages share."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def quick_hashes(settings: Any) -> None:
    """The studio's own hasher with one round instead of a million: these tests hash hundreds of passwords."""
    settings.PASSWORD_HASHERS = ["tests.accounts.people.QuickHasher"]
