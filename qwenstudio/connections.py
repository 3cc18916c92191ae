"""How to reach the database without Django's wrapper: the door and the readiness check open their own connections."""

from __future__ import annotations

from typing import Any

from django.db import connection

# Settings of Django's wrapper, which the driver does not know or which only its cursors need.
_DJANGO_ONLY = ("pool", "cursor_factory", "context", "prepare_threshold", "server_side_binding", "isolation_level")


def connection_parameters() -> dict[str, Any]:
    """psycopg's arguments for the database and role of this process."""
    parameters = connection.get_connection_params()
    return {name: value for name, value in parameters.items() if name not in _DJANGO_ONLY}
