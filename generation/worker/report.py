"""The worker's own row: what staff see in the admin, and what the web's waiting times rest on."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from accounts.ids import uuid7
from generation.domain.claim import KNOWN_SCHEMAS
from generation.enums import WorkerState
from generation.models import Worker

_DETAIL_CHARS = 500


class Report:
    """One `Worker` row. Times are the database's; each method is one statement."""

    def __init__(self, *, lane: str, pool: str) -> None:
        self.id: UUID = uuid7()
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.passes = 0
        self._lock = threading.Lock()  # the pass's thread and the leases' thread both write
        self._values: dict[str, Any] = {
            "name": self.name,
            "pid": os.getpid(),
            "lane": lane,
            "pool": pool,
            "release": settings.RELEASE,
            "state": WorkerState.LOADING,
            "schemas": list(KNOWN_SCHEMAS),
        }

    @property
    def state(self) -> str:
        return str(self._values["state"])

    @property
    def detail(self) -> str:
        return str(self._values.get("detail", ""))

    def set(self, **values: Any) -> None:
        """Change what the next `write` says; detail is cut to its column."""
        if "detail" in values:
            values["detail"] = str(values["detail"])[:_DETAIL_CHARS]
        self._values |= values

    def write(self, **values: Any) -> None:
        """Write the row as it is now, anew when somebody cleared it away while this process was stopped."""
        with self._lock:
            self.set(**values)
            row = {**self._values, "passes": self.passes, "seen_at": Now()}
            if not Worker.objects.filter(pk=self.id).update(**row):
                Worker.objects.create(pk=self.id, **row)
