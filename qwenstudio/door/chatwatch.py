"""Whether calls may go on: each one's caller is asked for again while it lasts, its client must take what it is sent,
and the process may end.

One task looks after all calls of the process: a task and a timer for each would cost more than most answers need.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from psycopg import Error as DatabaseError

from accounts.enums import Scope
from accounts.errors import StudioError
from generation.errors import StudioStops
from qwenstudio.door.bridge import STALL_S, ClientGone
from qwenstudio.door.callers import RECHECK_S, Credential

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

CLOSING_S = 10.0  # that answers under way may take when the process ends


class Sender(Protocol):
    """What sends a call's answer. `writing_since`: when the write began that waits for the client (0: none does)."""

    writing_since: float

    async def keep_alive(self) -> None:
        """Say something, where nothing was said for long."""
        ...


class Watched:
    """One call: its task, and what it is ended with."""

    def __init__(
        self, credential: Credential, scope: Scope, task: asyncio.Task[None], sender: Sender, end: Callable[[], None]
    ) -> None:
        self.credential = credential
        self.scope = scope
        self.sender = sender
        self.tick: asyncio.Task[None] | None = None
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

    def is_stuck(self, now: float) -> bool:
        """Whether its client takes nothing."""
        since = self.sender.writing_since
        return bool(since) and now - since >= STALL_S


class Watch:
    """All calls of this process."""

    def __init__(self) -> None:
        self._calls: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None
        self._closing_since = 0.0

    @asynccontextmanager
    async def while_allowed(
        self,
        house: House,
        credential: Credential,
        *,
        sender: Sender,
        end: Callable[[], None],
        scope: Scope = Scope.CHAT,
    ) -> AsyncIterator[None]:
        """Run the block until its caller may not any longer, its client is stuck, or the process ends.

        Raises what ended it: `ClientGone`, or a refusal, before which `end` is called.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (requests run in tasks)
        call = Watched(credential, scope, task, sender, end)
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
            if call.tick is not None:
                call.tick.cancel()

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
        for call in [call for call in self._calls if call.ended is None and call.is_stuck(now)]:
            log.info("answer given up: its client took nothing for %d s", STALL_S)
            call.stop(ClientGone())
        answers = True  # the database
        for call in [call for call in self._calls if stops or now >= call.due]:
            call.due = now + RECHECK_S
            refused: StudioError | None = StudioStops() if stops else None
            if answers and not stops:
                try:
                    refused = await _refusal(house, call.credential, call.scope)
                except DatabaseError as error:  # it refuses nobody, and would take seconds for each
                    answers = False
                    log.warning("cannot ask whether callers are still such: %s", type(error).__name__)
            if call not in self._calls or call.ended is not None:
                continue
            if refused is not None:
                call.stop(refused)
            elif call.tick is None or call.tick.done():
                # In a task of its own: one client that takes nothing must not hold up the others.
                call.tick = asyncio.create_task(call.sender.keep_alive())


async def _refusal(house: House, credential: Credential, scope: Scope) -> StudioError | None:
    """What refuses the caller by now. Raises the driver's errors."""
    try:
        (await house.callers.find(credential)).require_scope(scope.value)
    except StudioError as error:
        return error
    return None
