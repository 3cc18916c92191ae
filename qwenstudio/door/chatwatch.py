"""Whether a call may go on: its caller is asked for again while it lasts, and the process may end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from psycopg import Error as DatabaseError

from accounts.errors import StudioError
from generation.errors import StudioStops
from qwenstudio.door.bridge import ClientGone
from qwenstudio.door.callers import RECHECK_S, Credential

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

CLOSING_S = 10.0  # that answers under way may take when the process ends


@asynccontextmanager
async def while_allowed(
    house: House, credential: Credential, *, tick: Callable[[], Awaitable[None]], end: Callable[[], None]
) -> AsyncIterator[None]:
    """Run the block until its caller may not any longer, or the process ends; raises what ended it.

    `tick` is called every `RECHECK_S`; a client that takes nothing from it ends the block with `ClientGone`. `end` is
    called before the block is ended for another reason.
    """
    task = asyncio.current_task()
    ended: StudioError | ClientGone | None = None

    async def watch() -> None:
        nonlocal ended
        closing_since = 0.0
        while ended is None:
            await asyncio.sleep(RECHECK_S)
            if house.hub.is_closing:
                closing_since = closing_since or time.monotonic()
                if time.monotonic() - closing_since >= CLOSING_S:
                    ended = StudioStops()
            ended = ended or await _refusal(house, credential)
            if ended is None:
                try:
                    await tick()
                except ClientGone as error:
                    ended = error
        if not isinstance(ended, ClientGone):
            end()
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if ended is None or task is None:
            raise
        task.uncancel()
        raise ended from None
    finally:
        watcher.cancel()


async def _refusal(house: House, credential: Credential) -> StudioError | None:
    """What refuses the caller by now. A database that is away refuses nobody, and tells nobody anything."""
    try:
        await house.callers.find(credential)
    except StudioError as error:
        return error
    except DatabaseError as error:
        log.warning("cannot ask whether a caller is still one: %s", type(error).__name__)
    return None
