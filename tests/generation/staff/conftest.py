"""Staff in front of the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client


@pytest.fixture
def staff(db: object) -> Client:
    """A superuser's browser."""
    from django.test import Client

    from accounts.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.org", None))
    return client
