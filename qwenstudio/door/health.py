"""The health checks of the async side: not through Django, so that they are answered while all threads are busy."""

from __future__ import annotations

import asyncio

from qwenstudio.door.http import Scope, Send, send_json
from qwenstudio.health import check_readiness, identity

PATHS = ("/healthz", "/readyz")


async def answer_health(scope: Scope, send: Send) -> None:
    """Answer one of `PATHS`."""
    if scope["path"] == "/healthz":
        await send_json(send, 200, {"status": "ok", **identity()})
    else:
        found = await asyncio.to_thread(check_readiness)
        await send_json(send, found.status, found.as_dict())
