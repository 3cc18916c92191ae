"""Progress and previews leave the pass through a small buffer: Redis may be slow, a pass must not be."""

from __future__ import annotations

import base64
import logging
import queue
import threading
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from generation.queue.progress import publish

logger = logging.getLogger(__name__)

_ROOM = 256  # events; what does not fit is dropped, the next snapshot tells the same


class Publisher:
    """A thread that publishes what a pass says, in its order."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[UUID, UUID, str, Mapping[str, Any]] | None] = queue.Queue(maxsize=_ROOM)
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish what waits and end, within a few seconds."""
        try:
            self._events.put(None, timeout=1)
        except queue.Full:
            return  # Redis hangs; the thread is a daemon
        self._thread.join(timeout=5)

    def progress(self, *, tenant: UUID, generation: UUID, step: int, steps: int) -> None:
        self._put(tenant, generation, "progress", {"step": step, "steps": steps})

    def preview(self, *, tenant: UUID, generation: UUID, index: int, webp: bytes) -> None:
        data = f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"
        self._put(tenant, generation, "preview", {"data": data, "index": index})

    def _put(self, tenant: UUID, generation: UUID, kind: str, data: Mapping[str, Any]) -> None:
        try:
            self._events.put_nowait((tenant, generation, kind, data))
        except queue.Full:
            logger.debug("an event was dropped: Redis is slow")

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            tenant, generation, kind, data = event
            publish(tenant=tenant, generation=generation, kind=kind, data=data)
