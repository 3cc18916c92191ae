"""POST /v1/chat/completions: the guard (`chatguard.py`), then the relay.

While it waits a call holds its coroutine, its place at the upstream and its row; no thread, no connection to the
database. A client that leaves stops the upstream at once; one whose key was revoked is told within five seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from django.conf import settings

from accounts.domain.callers import Caller
from accounts.errors import StudioError
from accounts.logcontext import bind_log
from accounts.meters import child
from generation.chat.answers import AnswerHead
from generation.chat.books import Books, Reservation
from generation.chat.breaker import Breaker
from generation.chat.deltas import Delta, Usage
from generation.chat.filters.answer import AnswerFilter
from generation.chat.filters.rules import RuleSet
from generation.chat.kept import Keeper
from generation.chat.record import CallRecord
from generation.chat.relay import Answer, Relay
from generation.chat.targets import Offer, Upstream
from generation.chat.tasks import Tasks, current_tasks
from generation.chat.wire.valkey import Scripts
from generation.meters import CHAT_BREAKER, CHAT_UNDER_WAY, count_chat
from qwenstudio.door.callers import Credential
from qwenstudio.door.chatanswers import StreamSender, WholeSender
from qwenstudio.door.chatguard import Guard, Plan, enter_chat, limit_headers, read_whole
from qwenstudio.door.chatrates import ChatRates
from qwenstudio.door.chatwatch import CLOSING_S, Watch
from qwenstudio.door.http import Receive, Request, Scope, Send, own_headers, send_problem, send_refusal
from qwenstudio.door.streams import until_disconnect

if TYPE_CHECKING:
    from qwenstudio.door.app import House

log = logging.getLogger(__name__)

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Chat:
    """What chat needs besides the rest of the house."""

    relay: Relay
    rates: ChatRates
    books: Books
    scripts: Scripts | None
    watch: Watch
    tasks: Tasks
    lacking: dict[str, float] = field(default_factory=dict)  # upstreams that cannot choose (`moodasking.py`)

    def guard(self, caller: Caller) -> Guard:
        """What stands before a call of a caller's."""
        return Guard(caller, books=self.books, rates=self.rates, task=self.tasks.chat)

    async def close(self) -> None:
        """Wait for settlements, close what is kept open."""
        if _settling:
            await asyncio.wait(list(_settling), timeout=CLOSING_S)
        await self.books.close()
        self.watch.close()
        self.relay.close()
        if self.scripts is not None:
            self.scripts.close()


def make_chat(books: Books) -> Chat:
    """The relay, its breakers and the rates over one connection to Valkey; it connects when first asked.

    Raises `TasksError` where `deploy/tasks.toml` is not right.
    """
    scripts = Scripts(settings.REDIS_URL) if settings.REDIS_URL else None
    lane = settings.STUDIO_LANE

    def note_open(upstream: Upstream, is_open: bool) -> None:
        child(CHAT_BREAKER, lane, upstream.name or upstream.id).set(is_open)

    return Chat(
        relay=Relay(Breaker(scripts), note_open=note_open),
        rates=ChatRates(scripts),
        books=books,
        scripts=scripts,
        watch=Watch(),
        tasks=current_tasks(),
    )


async def answer_chat(house: House, chat: Chat, request: Request, scope: Scope, receive: Receive, send: Send) -> str:
    """Answer one request; returns the code of a refusal that was told in the middle of an answer."""
    if request.method != "POST":
        allow = [(b"allow", b"POST")]
        await send_problem(send, request, 405, code="method_not_allowed", detail="only POST", headers=allow)
        return ""
    credential, caller = await enter_chat(house, request)
    with bind_log(tenant=caller.tenant, member=caller.user, key=caller.key):
        body = await read_whole(request, scope, receive, send)
        if body is None:
            return ""
        call = Call(house, chat, request, credential=credential, caller=caller)
        return await call.run(body, receive, send)


class Call:
    """One request of a caller whom we know."""

    def __init__(self, house: House, chat: Chat, request: Request, *, credential: Credential, caller: Caller) -> None:
        self._house = house
        self._chat = chat
        self._request = request
        self._credential = credential
        self._caller = caller

    async def run(self, body: bytes, receive: Receive, send: Send) -> str:
        """To the end; the code of a refusal."""
        guard = self._chat.guard(self._caller)
        try:
            plan = await guard.let_through(body, is_closing=self._house.hub.is_closing)
        except StudioError as error:
            await send_refusal(send, self._request, error, headers=await guard.limits_of(error))
            return error.code
        sender = await conduct(
            self._house,
            self._chat,
            plan,
            lambda: self._sender(send, plan),
            credential=self._credential,
            keeps_words=self._caller.keeps_chats,
            until=until_disconnect(receive),
        )
        return sender.code

    def _sender(self, send: Send, plan: Plan) -> WholeSender:
        asked = plan.asked
        head = AnswerHead(model=plan.offer.slug, fingerprint=fingerprint())
        headers = [*own_headers(self._request), *limit_headers(plan.rate, plan.reservation.left)]
        if not asked.stream:
            return WholeSender(send, self._request, head, headers=headers)
        return StreamSender(send, self._request, head, headers=headers, include_usage=asked.include_usage)


class Sender(Protocol):
    """Whom an answer is told: a client, or the row of a conversation (`chatwatch.py` says what `writing_since` is)."""

    writing_since: float

    async def begin(self) -> None:
        """The upstream has begun."""

    async def add(self, deltas: Sequence[Delta]) -> None:
        """Some steps more."""

    async def keep_alive(self) -> None:
        """Nothing was told for a while."""

    async def end(self, usage: Usage) -> None:
        """It is whole."""

    async def refuse(self, error: StudioError) -> None:
        """There is none, or no more of it."""


S = TypeVar("S", bound=Sender)


async def conduct(
    house: House,
    chat: Chat,
    plan: Plan,
    make_sender: Callable[[], S],
    *,
    credential: Credential,
    keeps_words: bool = False,
    until: AbstractAsyncContextManager[None] | None = None,
) -> S:
    """Ask the upstream and tell the sender what comes, or what refuses it; whatever becomes of it is settled.

    `until` may end it sooner, as whoever cancels the task does: the upstream's connection is closed in that moment.
    """
    keeper: Keeper | None = None
    try:
        sender = make_sender()
        keeper = Keeper(plan.asked) if keeps_words else None
        with child(CHAT_UNDER_WAY, settings.STUDIO_LANE).track_inprogress():
            async with until or nullcontext():
                await _answer(house, chat, plan, sender, credential=credential, keeper=keeper)
    finally:
        plan.record.end("client_gone")
        await settle_call(chat, plan.offer, plan.reservation, plan.record, keeper)
    return sender


async def _answer(
    house: House, chat: Chat, plan: Plan, sender: Sender, *, credential: Credential, keeper: Keeper | None
) -> None:
    try:
        async with (
            chat.watch.while_allowed(house, credential, sender=sender, end=lambda: plan.record.end("revoked")),
            await chat.relay.open(plan.asked, plan.offer, plan.record, asker=plan.asker) as answer,
        ):
            await sender.begin()
            await _pass_on(answer, sender, plan.rules, keeper)
            await sender.end(plan.record.counted())
    except StudioError as error:
        await sender.refuse(error)


async def _pass_on(answer: Answer, sender: Sender, rules: RuleSet | None, keeper: Keeper | None) -> None:
    if rules is None:
        async for deltas in answer.batches():
            await _tell(sender, deltas, keeper)
        return
    filter_ = AnswerFilter(rules)
    async for deltas in answer.batches():
        told = []
        for delta in deltas:
            told.append(filter_.feed(delta))
            if filter_.stopped:
                break
        await _tell(sender, told, keeper)
        if filter_.stopped:
            return


async def _tell(sender: Sender, deltas: Sequence[Delta], keeper: Keeper | None) -> None:
    if keeper is not None:
        keeper.add(deltas)
    await sender.add(deltas)


async def settle_call(
    chat: Chat, offer: Offer, reservation: Reservation, record: CallRecord, keeper: Keeper | None = None
) -> None:
    """Charge it, whatever happens to this task, and behind its back: the client has its answer already."""
    count_chat(
        lane=settings.STUDIO_LANE,
        model=offer.slug,
        outcome=record.outcome,
        first_byte_ms=record.first_byte_ms,
        total_ms=record.total_ms or 0,
        tokens_in=record.tokens_in,
        tokens_out=record.tokens_out,
    )
    kept = None if keeper is None else keeper.kept()
    task = asyncio.ensure_future(chat.books.settle(reservation, record, kept))
    _settling.add(task)
    task.add_done_callback(_settled)
    await asyncio.sleep(0)  # it has begun: what is settled without waiting is settled now


# Settlements under way: a task that nobody keeps may be collected before it is done.
_settling: set[asyncio.Future[None]] = set()


def _settled(task: asyncio.Future[None]) -> None:
    _settling.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a chat call could not be settled, the sweep will: %s", type(error).__name__)


def fingerprint() -> str:
    """`system_fingerprint`: our lane; what an upstream says there tells how the studio is built."""
    return f"qs-{settings.STUDIO_LANE}"
