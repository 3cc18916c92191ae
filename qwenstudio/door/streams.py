"""Server-sent events: one generation's, or all of the caller's work.

A stream opens with the truth from PostgreSQL, goes on with what the bus says, and repeats the truth every 15 s. What
changes a state is read from PostgreSQL before it is sent; the bus alone is believed only for progress and previews.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from psycopg import Error as DatabaseError

from accounts.domain.callers import Caller
from accounts.enums import Scope as KeyScope
from accounts.errors import InvalidKey, NotAllowed, StudioError
from accounts.logcontext import bind_log
from accounts.meters import EVENT_STREAMS
from generation.api.sse import PREAMBLE, render_event, state_event
from generation.errors import GenerationNotFound
from qwenstudio.door.bridge import ClientGone
from qwenstudio.door.bus import FLEETING, NOTICE, Event, entry_order
from qwenstudio.door.callers import RECHECK_S, Credential, find_credential, refusal_of_wrong_key
from qwenstudio.door.http import Receive, Request, Send, own_headers
from qwenstudio.door.hub import Mailbox
from qwenstudio.door.refusals import note_refused_stream
from qwenstudio.door.truth import Truth

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
STALL_S = 30.0  # a client that takes nothing for so long is given up
FORGOTTEN = 1000
REPEATED = 10
LAST_MS = 2**42  # the year 2109: what is later is nonsense, and beyond PostgreSQL's calendar an error
BLIND_S = 15.0  # how long a stream goes on while nobody can say whether its caller may still see it


class StreamEnded(Exception):
    """Nothing more is to be sent."""


async def stream_generation(house: House, request: Request, generation: UUID, receive: Receive, send: Send) -> None:
    """GET /api/v1/images/{id}/events. Raises what refuses it, before the first byte."""
    credential, caller = await enter(house, request)
    mailbox = Mailbox(tenant=caller.tenant, generation=generation)
    with (
        house.openings.hold(caller),
        house.hub.open(mailbox),
        EVENT_STREAMS.labels(settings.STUDIO_LANE).track_inprogress(),
        bind_log(tenant=caller.tenant, member=caller.user, key=caller.key, generation=generation),
    ):
        stream = Stream(house, request, send, credential=credential, mailbox=mailbox)
        mark = house.hub.bus.last_id
        truth = await house.database.read_truth(tenant=caller.tenant, generation=generation)
        if truth is None:
            raise GenerationNotFound
        await stream.run(receive, one(truth), mark=mark)


async def stream_caller(house: House, request: Request, receive: Receive, send: Send) -> None:
    """GET /api/v1/events: what the caller has under way, and what ended since `Last-Event-ID`."""
    credential, caller = await enter(house, request)
    if caller.user is None:
        raise NotAllowed("this credential belongs to no member and has no work of its own")
    mailbox = Mailbox(tenant=caller.tenant, user=caller.user)
    with (
        house.openings.hold(caller),
        house.hub.open(mailbox),
        EVENT_STREAMS.labels(settings.STUDIO_LANE).track_inprogress(),
        bind_log(tenant=caller.tenant, member=caller.user, key=caller.key),
    ):
        stream = Stream(house, request, send, credential=credential, mailbox=mailbox)
        mark = house.hub.bus.last_id
        work = await house.database.read_work(
            tenant=caller.tenant, user=caller.user, ended_after_ms=stream.resumes_after[0]
        )
        await stream.run(receive, house.database.read_truths(tenant=caller.tenant, generations=work), mark=mark)


async def one(truth: Truth) -> AsyncIterator[Truth]:
    """A stream's opening that has been read already."""
    yield truth


async def enter(house: House, request: Request, *, scope: KeyScope = KeyScope.IMAGES_READ) -> tuple[Credential, Caller]:
    """Who asks, with this scope. Raises `InvalidKey`, `TooManyWrongKeys`, `NotSignedIn`, `NotAllowed`."""
    credential: Credential | None = None
    caller: Caller | None = None
    try:
        credential = await find_credential(house.pages, request)
        caller = await house.callers.find(credential)
        caller.require_scope(scope.value)
    except InvalidKey as error:
        await note_refused_stream(request, error, credential)
        raise await refusal_of_wrong_key(request.address) from None
    except NotAllowed as error:
        if caller is not None:
            error.tenant, error.key = caller.tenant, caller.key
        await note_refused_stream(request, error, credential)
        raise
    return credential, caller


class EventStream:
    """What every stream to a client has in common: its head, its bounds, and whether its caller may see it still."""

    def __init__(self, house: House, request: Request, send: Send, *, credential: Credential) -> None:
        self._house = house
        self._request = request
        self._send = send
        self._credential = credential
        self._known_at = time.monotonic()

    async def _open(self) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            *own_headers(self._request),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(PREAMBLE)

    async def _check_caller(self) -> None:
        """End the stream of a revoked key or a suspended tenant; bear with a database that is away for a moment."""
        try:
            await self._house.callers.find(self._credential)
            self._known_at = time.monotonic()
        except StudioError as error:
            log.info("stream ended: %s", error.code)
            raise StreamEnded from None
        except DatabaseError:
            if time.monotonic() - self._known_at > BLIND_S:
                raise StreamEnded from None
        if self._credential.has_expired():
            raise StreamEnded  # the page comes back by itself, as long as its session lives

    async def _write(self, content: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self._send({"type": "http.response.body", "body": content, "more_body": more})
        except TimeoutError:
            log.info("stream given up: its client took nothing for %d s", STALL_S)
            raise ClientGone from None


class Stream(EventStream):
    """One client's stream of generations."""

    def __init__(self, house: House, request: Request, send: Send, *, credential: Credential, mailbox: Mailbox) -> None:
        super().__init__(house, request, send, credential=credential)
        self._mailbox = mailbox
        self._others: OrderedDict[UUID, None] = OrderedDict()  # other members' and ended ones: nothing more to tell
        self.resumes_after = read_last_id(request.headers.get("last-event-id", ""))

    async def run(self, receive: Receive, truths: AsyncIterator[Truth], *, mark: str) -> None:
        """Send the opening, then whatever comes, until the end, the client's leaving or the server's stop."""
        async with until_disconnect(receive):
            try:
                await self._open()
                await self._tell_truths(truths, mark=mark)
                await self._follow()
            except StreamEnded:
                await self._write(b"", more=False)

    async def _follow(self) -> None:
        alive_at = checked_at = time.monotonic()
        while not self._house.hub.is_closing:
            now = time.monotonic()
            event = await self._mailbox.get(min(alive_at + KEEP_ALIVE_S, checked_at + RECHECK_S) - now)
            if event is not None:
                await self._tell_event(event)
            now = time.monotonic()
            if now - checked_at >= RECHECK_S:
                checked_at = now
                await self._check_caller()
            if now - alive_at >= KEEP_ALIVE_S:
                alive_at = now
                await self._keep_alive()
        raise StreamEnded

    async def _keep_alive(self) -> None:
        """Repeat the truth; a comment where there is none, so that proxies see the stream live.

        Of much work only the first is repeated, for its place in the queue: what changes is told at once anyway.
        """
        await self._write(b": keep-alive\n\n")
        work = [self._mailbox.generation] if self._mailbox.generation else list(self._mailbox.seen)[:REPEATED]
        try:
            truths = self._house.database.read_truths(tenant=self._mailbox.tenant, generations=work)
            await self._tell_truths(truths, mark=self._house.hub.bus.last_id)
        except DatabaseError:
            return  # the next one says it

    async def _tell_event(self, event: Event) -> None:
        if event.kind == NOTICE:
            await self._write(render_event(NOTICE, event.data))
            return
        if event.generation in self._others:
            return
        if event.kind not in FLEETING:
            await self._tell_state(event.generation, event_id=event.id)
            return
        if event.generation not in self._mailbox.seen:
            # A stream of all work: whose is it? (A stream of one generation knows its own from the start.)
            await self._tell_state(event.generation, event_id="")
        if event.generation in self._mailbox.seen and (not event.id or entry_order(event.id) > self.resumes_after):
            await self._write(render_event(event.kind, {"id": str(event.generation), **event.data}, event_id=event.id))

    async def _tell_state(self, generation: UUID, *, event_id: str) -> None:
        """Read what is true now, and send it where it is news."""
        mark = event_id or self._house.hub.bus.last_id
        try:
            truth = await self._house.database.read_truth(tenant=self._mailbox.tenant, generation=generation)
        except DatabaseError:
            return  # the poll or the next keep-alive says it
        if truth is None:
            if self._mailbox.generation:
                raise StreamEnded
            self._forget(generation)
            return
        if self._mailbox.user is not None and truth.state.user != self._mailbox.user:
            self._forget(generation)
            return
        if truth.state != self._mailbox.seen.get(generation):
            await self._tell_truths(one(truth), mark=mark)

    def _forget(self, generation: UUID) -> None:
        self._mailbox.seen.pop(generation, None)
        self._others[generation] = None
        while len(self._others) > FORGOTTEN:
            self._others.popitem(last=False)

    async def _tell_truths(self, truths: AsyncIterator[Truth], *, mark: str) -> None:
        async for truth in truths:
            name, data = state_event(truth.body)
            await self._write(render_event(name, data, event_id=mark))
            if not truth.state.is_active:
                if self._mailbox.generation:
                    raise StreamEnded
                self._forget(truth.id)
                continue
            is_new = truth.id not in self._mailbox.seen
            self._mailbox.seen[truth.id] = truth.state
            if is_new:
                await self._tell_recent(truth.id)

    async def _tell_recent(self, generation: UUID) -> None:
        """The last progress and preview that came before this client did, unless it has seen them."""
        for kind in FLEETING:
            event = self._house.hub.bus.recent(generation).get(kind)
            if event is None or event.tenant != self._mailbox.tenant:
                continue
            if entry_order(event.id) > self.resumes_after:
                await self._write(render_event(kind, {"id": str(generation), **event.data}, event_id=event.id))


def read_last_id(text: str) -> tuple[int, int]:
    """`Last-Event-ID` as two numbers; (0, 0) for nothing or nonsense: then everything is news."""
    try:
        found = entry_order(text)
    except ValueError:
        return (0, 0)
    return found if 0 <= found[0] < LAST_MS and 0 <= found[1] < 2**63 else (0, 0)


@asynccontextmanager
async def until_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Run the block until it ends or the client leaves."""
    task = asyncio.current_task()
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not left or task is None:
            raise
        task.uncancel()
    finally:
        watcher.cancel()
