"""A studio of a benchmark's own, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.qwenstudio.up import Up


@contextmanager
def own_studio(*, only: Sequence[str] = (), **settings: str) -> Iterator[Up]:
    """Start one (or `only` these of its processes) with these settings, wait until it is ready, stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-", ignore_cleanup_errors=True) as folder:
        up = Up(Path(folder), only=only, **settings)
        try:
            up.start()
            yield up
        finally:
            up.end()


def web_of(up: Up) -> psutil.Process:
    """The process that answers: of the server's processes the one that has loaded the application."""
    return max(psutil.Process(up.children()["web"]).children(recursive=True), key=lambda one: one.memory_info().rss)


def client_of(up: Up) -> dict[str, Any]:
    """What an `httpx` client needs to be the demo's owner."""
    accounts = up.accounts()
    return {
        "base_url": accounts["STUDIO_URL"],
        "headers": {"Authorization": f"Bearer {accounts['STUDIO_API_KEY']}"},
        "timeout": 30,
    }
