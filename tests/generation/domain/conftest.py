"""Both roles in one process: people submit under the web's role, workers claim under theirs.

Pytest reads this file before the servers run: whatever needs Django is imported inside the fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
import pytest

from qwenstudio.embedded import Services


@pytest.fixture(autouse=True)
def _clean_slate(db: None) -> None:
    """The sleeping model is on offer."""
    from tests.chaos.rig import offer_sleeping_model

    offer_sleeping_model()


@pytest.fixture
def as_worker(db: None, services: Services) -> Callable[[], AbstractContextManager[None]]:
    """`with as_worker():` this process and its new threads connect as the worker's role."""
    from django.conf import settings
    from django.db import connections

    from qwenstudio.settings import database_from_url

    @contextmanager
    def scope() -> Iterator[None]:
        shared = connections.settings["default"]
        before, process = dict(shared), settings.PROCESS
        url = database_from_url("DATABASE_WORKER_URL", services.urls["worker"])
        connections.close_all()
        options = {name: value for name, value in before["OPTIONS"].items() if name != "pool"}
        shared.update(url, OPTIONS=options)
        settings.PROCESS = "worker"
        try:
            yield
        finally:
            connections.close_all()
            shared.update(before)
            settings.PROCESS = process

    return scope


@pytest.fixture
def worker(as_worker: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """The whole test under the worker's role (which may do all that the web's may)."""
    with as_worker():
        yield


@pytest.fixture
def look(admin_sql: psycopg.Connection[tuple[Any, ...]]) -> Callable[..., list[tuple[Any, ...]]]:
    """Rows as they stand in the database, whoever's they are."""

    def ask(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return admin_sql.execute(sql, values).fetchall()  # type: ignore[arg-type]

    return ask
