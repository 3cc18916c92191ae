"""POST /v1/images/generations and /v1/images/edits: Django takes the request, the door waits and sends the pictures.

While it waits it holds nothing but its coroutine (as `Prefer: wait` does). A client that leaves cancels nothing; one
that has waited `MAX_WAIT_S` in vain gets 503, and the work is given up at our cost. Whether the caller may still see it
is asked every `RECHECK_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
from django.conf import settings
from django.db import Error as OrmError
from django.db import connection
from psycopg import Error as DatabaseError

from accounts.domain.callers import Caller
from accounts.errors import RateLimited, StudioError, Unavailable
from accounts.logcontext import bind_log
from accounts.meters import WAITERS
from accounts.tenancy import in_tenant
from generation.api.openai.fields import AnswerForm
from generation.domain.delivery import DELIVERY_SQL, read_delivery
from generation.domain.giveup import give_up_generation
from generation.enums import FINAL, Status
from generation.errors import AlreadyFinished, GenerationNotFound, PictureCanceled, StudioStops, TookTooLong
from qwenstudio.door.bus import FLEETING, Event
from qwenstudio.door.callers import RECHECK_S, find_credential
from qwenstudio.door.http import Headers, Receive, Request, Scope, Send
from qwenstudio.door.hub import Mailbox
from qwenstudio.door.imageanswers import StreamedAnswer, WholeAnswer
from qwenstudio.door.streams import until_disconnect
from qwenstudio.door.truth import Truth
from qwenstudio.door.wait import send_answer

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

PATHS = {"/v1/images/generations": "openai-image-generations", "/v1/images/edits": "openai-image-edits"}
MAX_WAIT_S = 300.0
KEEP_ALIVE_S = 15.0
# Of Django's 202: what says how its body is to be read, and what only an accepted submit says.
_NOT_KEPT = frozenset({b"content-type", b"content-length", b"cache-control"})


async def submit_picture(house: House, request: Request, scope: Scope, receive: Receive, send: Send) -> str:
    """Let Django submit; then wait, and answer with the pictures. Returns the code of a refusal of the door's own."""
    until = time.monotonic() + MAX_WAIT_S
    answer = await house.pages.ask({**scope, "studio.request_id": request.id}, receive)
    if answer.status != 202:
        await send_answer(send, answer)
        return ""
    accepted = orjson.loads(answer.body)
    form = AnswerForm.from_json(accepted["answer"])
    headers: Headers = [(name, value) for name, value in answer.headers if name not in _NOT_KEPT]
    pictures = (StreamedAnswer if form.stream else WholeAnswer)(send, request, form, headers=headers)
    async with until_disconnect(receive):
        await Waiter(house, request, UUID(accepted["id"]), until=until).run(pictures)
    return pictures.code


class Waiter:
    """Waits for one generation on behalf of one client."""

    def __init__(self, house: House, request: Request, generation: UUID, *, until: float) -> None:
        self._house = house
        self._request = request
        self._generation = generation
        self._until = until
        self._sent = 0  # pictures that the answer knows of

    async def run(self, answer: WholeAnswer) -> None:
        """To the end of the answer, whatever becomes of the generation."""
        try:
            self._credential = await find_credential(self._house.pages, self._request)
            caller = await self._house.callers.find(self._credential)
        except DatabaseError:
            await answer.refuse(Unavailable("the database does not answer; the picture goes on", retry_after_s=5))
            return
        except StudioError as error:  # refused since Django let it in
            await answer.refuse(error)
            return
        with (
            WAITERS.labels(settings.STUDIO_LANE).track_inprogress(),
            bind_log(tenant=caller.tenant, member=caller.user, key=caller.key, generation=self._generation),
        ):
            await self._run(answer, caller)

    async def _run(self, answer: WholeAnswer, caller: Caller) -> None:
        mailbox = Mailbox(tenant=caller.tenant, generation=self._generation)
        try:
            with self._house.hub.open(mailbox):
                await self._follow(answer, mailbox)
        except (TookTooLong, StudioStops, RateLimited) as error:
            await self._end_early(answer, mailbox, error)
        except StudioError as error:
            await answer.refuse(error)

    async def _end_early(self, answer: WholeAnswer, mailbox: Mailbox, error: StudioError) -> None:
        """Nobody waits any longer: give the work up, unless it has ended in this very moment."""
        try:
            ended = not await give_up(tenant=mailbox.tenant, generation=self._generation)
            if not (ended and await self._look(answer, mailbox)):
                raise error
        except StudioError as refused:
            await answer.refuse(refused)

    async def _follow(self, answer: WholeAnswer, mailbox: Mailbox) -> None:
        """Until the generation has ended. Raises what ends the waiting before that."""
        if await self._look(answer, mailbox):  # a repeated request's may have ended long ago
            return
        for early in list(self._house.hub.bus.recent(self._generation).values()):  # it was faster than we
            if early.tenant == mailbox.tenant and await self._take(answer, mailbox, early):
                return
        alive_at = checked_at = time.monotonic()
        while True:
            if self._house.hub.is_closing:
                raise StudioStops
            now = time.monotonic()
            if now >= self._until:
                raise TookTooLong(MAX_WAIT_S)
            wake_at = min(self._until, checked_at + RECHECK_S, alive_at + KEEP_ALIVE_S)
            event = await mailbox.get(wake_at - now)
            if event is not None and await self._take(answer, mailbox, event):
                return
            now = time.monotonic()
            if now - checked_at >= RECHECK_S:
                checked_at = now
                await self._check_caller()
            if now - alive_at >= KEEP_ALIVE_S:
                alive_at = now
                await answer.keep_alive()

    async def _take(self, answer: WholeAnswer, mailbox: Mailbox, event: Event) -> bool:
        """One event; whether that was the end."""
        if event.kind in FLEETING:
            await answer.preview(event)
            return False
        is_news = event.kind in FINAL or event.kind == "gone" or answer.sends_early or not mailbox.seen
        return is_news and await self._look(answer, mailbox)

    async def _check_caller(self) -> None:
        """Raise what refuses the caller by now; a database that is away refuses nobody, and tells nobody anything."""
        try:
            if self._credential.has_expired():
                self._credential = await find_credential(self._house.pages, self._request)
            await self._house.callers.find(self._credential)
        except DatabaseError as error:
            log.warning("cannot ask whether a waiting caller is still one: %s", type(error).__name__)

    async def _look(self, answer: WholeAnswer, mailbox: Mailbox) -> bool:
        """Tell what has become of it; whether that was the end. Raises what there is instead of pictures.

        A database that is away says nothing: the next event, or the poll, asks again.
        """
        try:
            truth = await self._house.database.read_truth(tenant=mailbox.tenant, generation=self._generation)
            if truth is None:
                raise GenerationNotFound
            await answer.begin(truth)
            if truth.state.is_active:
                mailbox.seen[truth.id] = truth.state
                if answer.sends_early and truth.state.done > self._sent:  # of several pictures the first are there
                    await self._deliver(answer, tenant=mailbox.tenant, truth=None)
                return False
            await self._conclude(answer, truth, tenant=mailbox.tenant)
        except DatabaseError as error:
            log.warning("cannot read what a client waits for: %s", type(error).__name__)
            return False
        return True

    async def _conclude(self, answer: WholeAnswer, truth: Truth, *, tenant: UUID) -> None:
        """The answer to what has ended."""
        if truth.state.status == Status.CANCELED:
            raise PictureCanceled
        if truth.state.status == Status.FAILED:
            await answer.fail(truth.body["error"]["code"], truth.body["error"]["message"])
        else:
            await self._deliver(answer, tenant=tenant, truth=truth)

    async def _deliver(self, answer: WholeAnswer, *, tenant: UUID, truth: Truth | None) -> None:
        rows = await self._house.database.fetch_all(DELIVERY_SQL, tenant=tenant, generation=self._generation)
        pictures = [read_delivery(row) for row in rows]
        if not pictures and truth is not None:
            raise GenerationNotFound  # deleted since
        self._sent = len(pictures)
        try:
            await answer.done(tenant, pictures, truth)
        except FileNotFoundError:  # deleted in this very moment
            raise GenerationNotFound from None


async def give_up(*, tenant: UUID, generation: UUID) -> bool:
    """Cancel at our own cost; False when it has ended. In a thread: the ORM's connections are Django's side's."""
    return await asyncio.to_thread(_give_up, tenant, generation)


def _give_up(tenant: UUID, generation: UUID) -> bool:
    try:
        with in_tenant(tenant):
            give_up_generation(generation)
        log.info("given up: a client has waited too long, or this process ends")
    except AlreadyFinished:
        return False
    except GenerationNotFound:
        log.info("deleted while a client waited for it")
    except OrmError as error:  # it is drawn and charged; the answer is the same
        log.error("could not give a picture up: %s", type(error).__name__)
    finally:
        connection.close()
    return True
