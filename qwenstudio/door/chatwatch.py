"""Whether calls may go on: each one's caller is asked for again while it lasts, and the process may end.

One task looks after all calls of the process: a task and a timer for each would cost more than most answers need.
"""

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


class Watched:
    """One call: its task, and what it is ended with."""

    def __init__(
        self,
        credential: Credential,
        task: asyncio.Task[None],
        tick: Callable[[], Awaitable[None]],
        end: Callable[[], None],
    ) -> None:
        self.credential = credential
        self.tick = tick
        self.ended: StudioError | ClientGone | None = None
        self.due = time.monotonic() + RECHECK_S
        self._task = task
        self._end = end

    def stop(self, why: StudioError | ClientGone) -> None:
        """End it, in its own task."""
        self.ended = why
        if not isinstance(why, ClientGone):
            self._end()
        self._task.cancel()


class Watch:
    """All calls of this process."""

    def __init__(self) -> None:
        self._calls: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None
        self._ticks: set[asyncio.Task[None]] = set()
        self._closing_since = 0.0

    @asynccontextmanager
    async def while_allowed(
        self, house: House, credential: Credential, *, tick: Callable[[], Awaitable[None]], end: Callable[[], None]
    ) -> AsyncIterator[None]:
        """Run the block until its caller may not any longer, or the process ends; raises what ended it.

        `tick` is called every `RECHECK_S`; a client that takes nothing from it ends the block with `ClientGone`. `end`
        is called before the block is ended for another reason.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (requests run in tasks)
        call = Watched(credential, task, tick=tick, end=end)
        self._calls.add(call)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(house), name="chat-watch")
        try:
            yield
        except asyncio.CancelledError:
            if call.ended is None:
                raise
            task.uncancel()
            raise call.ended from None
        finally:
            self._calls.discard(call)

    def close(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, house: House) -> None:
        """Look at each call when it is due; ends when there is none."""
        while self._calls:
            await asyncio.sleep(RECHECK_S / 8)
            try:
                await self._look(house, now=time.monotonic())
            except Exception:  # a bug with one call must not leave all others unwatched
                log.exception("looking after chat calls failed")

    async def _look(self, house: House, *, now: float) -> None:
        if house.hub.is_closing:
            self._closing_since = self._closing_since or now
        stops = bool(self._closing_since) and now - self._closing_since >= CLOSING_S
        for call in [call for call in self._calls if stops or now >= call.due]:
            call.due = now + RECHECK_S
            refused = StudioStops() if stops else await _refusal(house, call.credential)
            if call not in self._calls or call.ended is not None:
                continue
            if refused is not None:
                call.stop(refused)
            else:
                self._begin_tick(call)

    def _begin_tick(self, call: Watched) -> None:
        """In a task of its own: one client that takes nothing must not hold up the others."""
        task = asyncio.create_task(self._tick(call))
        self._ticks.add(task)
        task.add_done_callback(self._ticks.discard)

    async def _tick(self, call: Watched) -> None:
        try:
            await call.tick()
        except ClientGone as error:
            if call in self._calls and call.ended is None:
                call.stop(error)


async def _refusal(house: House, credential: Credential) -> StudioError | None:
    """What refuses the caller by now. A database that is away refuses nobody, and tells nobody anything."""
    try:
        await house.callers.find(credential)
    except StudioError as error:
        return error
    except DatabaseError as error:
        log.warning("cannot ask whether a caller is still one: %s", type(error).__name__)
    return None
