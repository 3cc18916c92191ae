"""The door and Django's pages behind one port. With nginx in front, it routes by path instead."""

from __future__ import annotations

import asyncio

from accounts.ids import uuid7
from qwenstudio.door.app import Door
from qwenstudio.door.bridge import Bridge
from qwenstudio.door.health import PATHS, answer_health
from qwenstudio.door.http import Receive, Scope, Send, peer_of, read_request, send_bytes, send_problem
from qwenstudio.metrics.access import may_read
from qwenstudio.metrics.show import CONTENT_TYPE, show_metrics

HEADER_BYTES = 32_768
COOKIE_BYTES = 8_192


def is_oversized(scope: Scope) -> bool:
    """Whether a request's headers are larger than any client of ours sends; reading cookies costs their square."""
    sizes = [(name, len(name) + len(value)) for name, value in scope["headers"]]
    cookies = sum(size for name, size in sizes if name == b"cookie")
    return cookies > COOKIE_BYTES or sum(size for _, size in sizes) > HEADER_BYTES


class Front:
    """Answers health checks itself, gives the door what waits, and Django everything else."""

    def __init__(self, *, door: Door, pages: Bridge) -> None:
        self._door = door
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One event of the server's: start and stop, or a request."""
        if scope["type"] == "http" and is_oversized(scope):
            await send_problem(
                send,
                read_request(scope),
                431,
                code="headers_too_large",
                detail=f"the headers are larger than {HEADER_BYTES} bytes, or the cookies than {COOKIE_BYTES}",
            )
        elif scope["type"] == "lifespan":
            await self._door.live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["path"] in PATHS:
            await answer_health(scope, send)
        elif scope["path"] == "/metrics" and may_read(remote=peer_of(scope), headers=read_request(scope).headers):
            # Not through Django: it must answer while all threads are busy. Everybody else's request is Django's,
            # which has no such page.
            await send_bytes(send, await asyncio.to_thread(show_metrics), content_type=CONTENT_TYPE)
        elif self._door.takes(scope):
            await self._door(scope, receive, send)
        else:
            await self._pages({**scope, "studio.request_id": uuid7().hex}, receive, send)
