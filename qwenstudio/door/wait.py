"""POST /api/v1/images with `Prefer: wait=N`: Django takes the submit, the door waits for the picture.

Django's 202 has been read to its end before the waiting begins, so nothing is held meanwhile but this coroutine.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.conf import settings
from psycopg import Error as DatabaseError

from accounts.errors import InvalidRequest, StudioError
from accounts.logcontext import bind_log
from accounts.meters import WAITERS
from generation.enums import FINAL
from qwenstudio.door.bridge import Answer
from qwenstudio.door.callers import find_credential
from qwenstudio.door.http import Receive, Request, Scope, Send
from qwenstudio.door.hub import Mailbox
from qwenstudio.door.streams import until_disconnect

if TYPE_CHECKING:
    from qwenstudio.door.app import House

MAX_WAIT_S = 60
PREFERENCE = re.compile(r'\s*wait\s*=\s*"?([^";,\s]*)"?\s*', re.IGNORECASE)


def asks_to_wait(scope: Scope) -> bool:
    """Whether a request carries the preference `wait` (RFC 7240, section 4.3), with whatever value."""
    return any(name == b"prefer" and b"wait" in value.lower() for name, value in scope["headers"])


def read_wait(prefer: str) -> int | None:
    """The seconds in a `Prefer` header; None without the preference. Raises `InvalidRequest` outside 1 … 60."""
    for preference in re.split(r"[,;]", prefer):
        if not preference.strip().lower().startswith("wait"):
            continue
        found = PREFERENCE.fullmatch(preference)
        text = found[1] if found else ""
        if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_WAIT_S:
            return int(text)
        raise InvalidRequest(f"Prefer: wait must be a whole number of seconds from 1 to {MAX_WAIT_S}", field="Prefer")
    return None


async def submit_waiting(house: House, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
    """Let Django submit; then answer 200 with the finished generation, or its 202 when the time is up."""
    seconds = read_wait(request.headers.get("prefer", ""))
    started = time.monotonic()
    answer = await house.pages.ask({**scope, "studio.request_id": request.id}, receive)
    if seconds is None or answer.status != 202:
        await send_answer(send, answer)
        return
    async with until_disconnect(receive):
        finished = await wait_for_end(house, request, orjson.loads(answer.body), until=started + seconds)
        if finished is None:
            await send_answer(send, answer)
            return
        applied = (b"preference-applied", f"wait={seconds}".encode())
        await send_answer(send, Answer(status=200, headers=[*answer.headers, applied], body=orjson.dumps(finished)))


async def wait_for_end(
    house: House, request: Request, accepted: dict[str, Any], *, until: float
) -> dict[str, Any] | None:
    """The finished generation; None when it has not ended in time or the server stops."""
    if accepted["status"] in FINAL:  # the answer to a repeated Idempotency-Key
        return accepted
    generation = UUID(accepted["id"])
    try:
        caller = await house.callers.find(await find_credential(house.pages, request))
        mailbox = Mailbox(tenant=caller.tenant, generation=generation)
        waiting = WAITERS.labels(settings.STUDIO_LANE).track_inprogress()
        with house.hub.open(mailbox), waiting, bind_log(tenant=caller.tenant, generation=generation):
            if await wait_for_final_event(house, mailbox, until=until):
                truth = await house.database.read_truth(tenant=caller.tenant, generation=generation)
                return truth.body if truth is not None and not truth.state.is_active else None
    except (StudioError, DatabaseError):
        # The work is accepted: whatever keeps us from waiting for it, the client gets its 202.
        return None
    return None


async def wait_for_final_event(house: House, mailbox: Mailbox, *, until: float) -> bool:
    """Wait until the bus or the poll says that the mailbox's generation has ended."""
    generation = mailbox.generation
    if generation is not None and FINAL & house.hub.bus.recent(generation).keys():
        return True  # it was faster than we
    while not house.hub.is_closing:
        left = until - time.monotonic()
        if left <= 0:
            return False
        event = await mailbox.get(left)
        if event is not None and event.kind in FINAL:
            return True
        if event is not None and event.kind == "gone":
            return False
    return False


async def send_answer(send: Send, answer: Answer) -> None:
    """An answer of Django's, its length made true."""
    headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
