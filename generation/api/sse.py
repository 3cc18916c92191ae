"""Server-sent events on the wire; the async door and the views write them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from generation.enums import FINAL, Status

RETRY_MS = 2000
PREAMBLE = f"retry: {RETRY_MS}\n\n".encode()


def render_event(name: str, data: Mapping[str, Any], *, event_id: str = "") -> bytes:
    """One event. `event_id` is an id of the bus, which a client sends back as `Last-Event-ID`."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


def state_event(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The event that tells what is true now: `queued` and the final ones carry the whole generation."""
    status = body["status"]
    if status == Status.QUEUED or status in FINAL:
        return status, body
    return "progress", {"id": body["id"], **body["progress"], "images": body["images"]}
