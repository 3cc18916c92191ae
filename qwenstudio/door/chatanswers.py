"""The two forms of a chat answer over ASGI: one JSON at the end, or events as the words come.

How long a client takes for what it is sent is looked at by `chatwatch.py`, for all calls at once: a timer for each
write would cost as much as the write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from accounts.api.bodies import JSON_TYPE, refusal_body, status_of
from accounts.errors import StudioError
from accounts.meters import count_refusal
from generation.chat.answers import STREAM_TYPE, AnswerHead, StreamedAnswer, WholeAnswer, error_event
from generation.chat.deltas import Delta, Usage
from qwenstudio.door.bridge import STALL_S, ClientGone
from qwenstudio.door.http import Headers, Request, Send, send_refusal

KEEP_ALIVE_S = 15.0


class WholeSender:
    """One JSON, when everything is there. `code` is that of the refusal, where it came to one."""

    def __init__(self, send: Send, request: Request, head: AnswerHead, *, headers: Headers) -> None:
        self._send = send
        self._request = request
        self._headers = headers
        self._answer = WholeAnswer(head)
        self._has_ended = False
        self.writing_since = 0.0  # of the monotonic clock; 0: nothing waits for the client
        self._wrote_at = time.monotonic()
        self.code = ""

    async def begin(self) -> None:
        """The upstream has begun."""

    async def add(self, deltas: Sequence[Delta]) -> None:
        """Some steps more."""
        for delta in deltas:
            self._answer.add(delta)

    async def keep_alive(self) -> None:
        """Nothing can be said before the end."""

    async def end(self, usage: Usage) -> None:
        """The answer."""
        content = self._answer.render(usage)
        await self._start(JSON_TYPE, (b"content-length", str(len(content)).encode()))
        await self._write(content, more=False)

    async def refuse(self, error: StudioError) -> None:
        """The refusal, with its status."""
        if self._has_ended:  # it was told in the moment in which the answer was complete
            return
        self.code = error.code
        await send_refusal(self._send, self._request, error, headers=limits_among(self._headers))

    async def _start(self, media_type: str, *more: tuple[bytes, bytes]) -> None:
        headers = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store"), *more, *self._headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _write(self, content: bytes, *, more: bool = True) -> None:
        self._has_ended = not more
        self.writing_since = self._wrote_at = time.monotonic()
        try:
            await self._send({"type": "http.response.body", "body": content, "more_body": more})
        finally:
            self.writing_since = 0.0


class StreamSender(WholeSender):
    """Events as they come. What came with one packet of the upstream's goes with one of ours."""

    def __init__(
        self, send: Send, request: Request, head: AnswerHead, *, headers: Headers, include_usage: bool
    ) -> None:
        super().__init__(send, request, head, headers=headers)
        self._events = StreamedAnswer(head, include_usage=include_usage)
        self._writing = asyncio.Lock()  # a keep-alive must not come into the middle of a write
        self._is_open = False
        self._has_begun = False

    async def begin(self) -> None:
        """Status and headers; the first event comes with the first words."""
        self._is_open = True
        await self._start(STREAM_TYPE, (b"x-accel-buffering", b"no"))

    async def add(self, deltas: Sequence[Delta]) -> None:
        """An event for each."""
        content = b"".join(map(self._events.chunk, deltas))
        if content:
            await self._tell(self._first() + content)

    async def keep_alive(self) -> None:
        """A comment, which proxies see and clients pass over; where nothing was written for long."""
        async with self._writing:
            if self._is_open and not self._has_ended and time.monotonic() - self._wrote_at >= KEEP_ALIVE_S:
                await self._write(b": keep-alive\n\n")

    async def end(self, usage: Usage) -> None:
        """The usage, where it was asked for, and the end."""
        await self._tell(self._first() + self._events.end(usage), more=False)

    async def refuse(self, error: StudioError) -> None:
        """With its status, or as the last event."""
        if not self._is_open or self._has_ended:
            await super().refuse(error)
            return
        count_refusal(error.code)
        self.code = error.code
        status = status_of(error, self._request.path)
        body, _ = refusal_body(status, error.code, error.message, path=self._request.path, errors=error.fields)
        try:
            async with asyncio.timeout(STALL_S):  # nobody watches any longer
                await self._tell(error_event(body), more=False)
        except TimeoutError:
            raise ClientGone from None

    def _first(self) -> bytes:
        """The event that says who speaks, once."""
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._events.begin()

    async def _tell(self, content: bytes, *, more: bool = True) -> None:
        async with self._writing:
            await self._write(content, more=more)


def limits_among(headers: Headers) -> Headers:
    """Those that tell what is left; a refusal has all others of its own."""
    return [(name, value) for name, value in headers if name.startswith(b"x-ratelimit-")]
