"""GET /api/v1/conversations/{id}/events: an answer while it is written.

Opening the stream begins an answer that waits. One that this process writes is told word by word; one that another
process writes is read from its row every second, and taken over where its lease has run out. `Last-Event-ID` says how
much somebody has seen, so a page that comes back loses nothing and is told nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from psycopg import Error as DatabaseError

from accounts.domain.callers import Caller
from accounts.domain.roles import Right
from accounts.enums import Scope as KeyScope
from accounts.errors import NotAllowed, NotFound
from accounts.ids import read_id
from accounts.logcontext import bind_log
from accounts.meters import EVENT_STREAMS
from generation.api.sse import render_event
from generation.books.answers import NEWEST_SQL, WATCH_SQL, is_under_way
from generation.books.shown import answer_event, show_row
from generation.enums import MessageStatus
from qwenstudio.door.answering import Live
from qwenstudio.door.callers import RECHECK_S, Credential
from qwenstudio.door.http import Receive, Request, Send
from qwenstudio.door.streams import KEEP_ALIVE_S, EventStream, StreamEnded, enter, until_disconnect

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

POLL_S = 1.0


async def stream_conversation(house: House, request: Request, conversation: UUID, receive: Receive, send: Send) -> None:
    """Answer one request. Raises what refuses it, before the first byte."""
    credential, caller = await enter(house, request, scope=KeyScope.CHAT)
    caller.require(Right.CHAT)
    if caller.user is None:
        raise NotAllowed("this credential belongs to no member and has no conversations of its own")
    with (
        house.openings.hold(caller),
        EVENT_STREAMS.labels(settings.STUDIO_LANE).track_inprogress(),
        bind_log(tenant=caller.tenant, member=caller.user, key=caller.key),
    ):
        row = await house.database.fetch_one(
            NEWEST_SQL, tenant=caller.tenant, user=caller.user, conversation=conversation
        )
        if row is None:
            raise NotFound("no such conversation")
        stream = TalkStream(house, request, send, credential=credential, caller=caller)
        await stream.run(receive, row)


class TalkStream(EventStream):
    """One client's stream of one answer."""

    def __init__(self, house: House, request: Request, send: Send, *, credential: Credential, caller: Caller) -> None:
        super().__init__(house, request, send, credential=credential)
        self._caller = caller
        self._seen = read_seen(request.headers.get("last-event-id", ""))
        self._alive_at = self._checked_at = time.monotonic()

    async def run(self, receive: Receive, row: dict[str, Any]) -> None:
        """Until the answer's end, the client's leaving or the server's stop."""
        async with until_disconnect(receive):
            try:
                await self._open()
                if row["id"] is None:
                    await self._write(render_event(*answer_event(None)))
                    raise StreamEnded
                await self._follow(row)
            except StreamEnded:
                await self._write(b"", more=False)

    async def _follow(self, row: dict[str, Any] | None) -> None:
        answer: UUID | None = row["id"] if row else None
        while row is not None and answer is not None:
            live = self._house.answering.find(answer)
            if live is None and row["is_free"]:
                live = await self._begin(answer)
            if live is not None:
                await self._follow_live(live, row)
            elif not is_under_way(row):
                await self._end(show_row(row), row["fence"])
            else:
                await self._tell(show_row(row), row["fence"])
                await self._pause(POLL_S)
            row = await self._ask(answer, row)
        raise StreamEnded  # its conversation was deleted

    async def _begin(self, answer: UUID) -> Live | None:
        """Ours to write from now on; None where somebody was faster, or the database is away."""
        if self._house.hub.is_closing:
            raise StreamEnded  # it waits for the process that comes after this one
        try:
            return await self._house.answering.begin(
                self._house, answer, credential=self._credential, caller=self._caller
            )
        except DatabaseError as error:
            log.warning("cannot claim an answer: %s", type(error).__name__)
            return None

    async def _ask(self, answer: UUID, before: dict[str, Any]) -> dict[str, Any] | None:
        """How another process's answer is now; as it was, where nobody can say."""
        try:
            return await self._house.database.fetch_one(WATCH_SQL, tenant=self._caller.tenant, id=answer)
        except DatabaseError as error:
            log.warning("cannot ask how an answer is: %s", type(error).__name__)
            await self._pause(POLL_S)
            return {**before, "is_free": False}

    async def _follow_live(self, live: Live, row: dict[str, Any]) -> None:
        """To its end; returns where it was taken from this process, or nobody could write its end."""
        with live.watched():
            while not live.is_over:
                news = live.news
                await self._tell_live(live, row)
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await news.wait()
                await self._tend()
        if live.shown is not None:
            await self._end(live.shown, live.claimed.fence)
        await self._pause(POLL_S)

    async def _tell_live(self, live: Live, row: dict[str, Any]) -> None:
        """What the writer has, in the frame of its row: that costs no question."""
        words = {"status": MessageStatus.RUNNING.value, "text": live.text, "reasoning": live.reasoning}
        await self._tell(show_row(row) | words, live.claimed.fence)

    async def _tell(self, body: dict[str, Any], fence: int) -> None:
        """A message that is under way: all of it, or what is new to whoever has seen a part."""
        id, text, reasoning = body["id"], body["text"], body["reasoning"]
        if self._is_at(id, fence, text, reasoning):
            await self._tell_more(id, fence, text, reasoning)
            return
        self._seen = (id, fence, len(text), len(reasoning))
        await self._write(render_event("answer", body, event_id=self._mark()))

    async def _tell_more(self, id: UUID, fence: int, text: str, reasoning: str) -> None:
        _, _, said, thought = self._seen
        if len(text) == said and len(reasoning) == thought:
            return
        self._seen = (id, fence, len(text), len(reasoning))
        piece = {"id": id, "text": text[said:], "reasoning": reasoning[thought:]}
        await self._write(render_event("piece", piece, event_id=self._mark()))

    async def _end(self, body: dict[str, Any], fence: int) -> None:
        self._seen = (body["id"], fence, len(body["text"]), len(body["reasoning"]))
        await self._write(render_event("end", body, event_id=self._mark()))
        raise StreamEnded

    def _is_at(self, id: UUID, fence: int, text: str, reasoning: str) -> bool:
        """Whether what the client has seen is a beginning of this: what an earlier claim said may be another text."""
        seen, of, said, thought = self._seen
        return seen == id and of == fence and said <= len(text) and thought <= len(reasoning)

    def _mark(self) -> str:
        return ":".join(map(str, self._seen))

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._tend()

    async def _tend(self) -> None:
        """Keep the stream alive, look whether its caller may see it, end it with the process."""
        if self._house.hub.is_closing:
            raise StreamEnded
        now = time.monotonic()
        if now - self._checked_at >= RECHECK_S:
            self._checked_at = now
            await self._check_caller()
        if now - self._alive_at >= KEEP_ALIVE_S:
            self._alive_at = now
            await self._write(b": keep-alive\n\n")


def read_seen(text: str) -> tuple[UUID, int, int, int]:
    """`Last-Event-ID`: answer, fence, characters of its text and of its reasoning. Nonsense has seen nothing."""
    parts = text.split(":")
    numbers = [int(part) for part in parts[1:] if part.isascii() and part.isdigit() and len(part) < 10]
    if len(parts) != 4 or len(numbers) != 3:
        return (read_id(""), 0, 0, 0)
    return (read_id(parts[0]), numbers[0], numbers[1], numbers[2])
