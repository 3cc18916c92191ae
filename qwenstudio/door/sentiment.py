"""POST /api/v1/sentiment: the mood of one text, or of up to a hundred, by a chat model.

The guard is chat's (`chatguard.py`): one request counts once, whatever it holds; its texts' tokens are reserved and
settled as those of one call. `deploy/tasks.toml` says how a model is asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts.domain.callers import Caller
from accounts.enums import Scope as KeyScope
from accounts.errors import InvalidRequest, StudioError
from accounts.logcontext import bind_log
from accounts.meters import child
from generation.chat.books import Reservation
from generation.chat.moodasking import Moods
from generation.chat.record import CallRecord, Outcome
from generation.chat.sentiment import Mood, Question, judge_texts, read_question, tokens_of
from generation.chat.strictjson import parse_strict
from generation.chat.targets import Offer
from generation.errors import ChatRefused, ModelNotFound, SentimentUnclear, StudioStops
from generation.meters import CHAT_UNDER_WAY
from qwenstudio.door.callers import Credential
from qwenstudio.door.chat import Chat, settle_call
from qwenstudio.door.chatguard import AT_ONCE_BYTES, Guard, asker_of, enter_chat, limit_headers, read_whole
from qwenstudio.door.http import (
    Headers,
    Receive,
    Request,
    Scope,
    Send,
    own_headers,
    send_json,
    send_problem,
    send_refusal,
)
from qwenstudio.door.streams import until_disconnect

if TYPE_CHECKING:
    from qwenstudio.door.app import House

PATH = "/api/v1/sentiment"


async def answer_sentiment(
    house: House, chat: Chat, request: Request, scope: Scope, receive: Receive, send: Send
) -> str:
    """Answer one request; returns the code of a refusal that came after the guard."""
    if request.method != "POST":
        allow = [(b"allow", b"POST")]
        await send_problem(send, request, 405, code="method_not_allowed", detail="only POST", headers=allow)
        return ""
    credential, caller = await enter_chat(house, request, scope=KeyScope.SENTIMENT, pages=True)
    with bind_log(tenant=caller.tenant, member=caller.user, key=caller.key):
        body = await read_whole(request, scope, receive, send)
        if body is None:
            return ""
        judging = Judging(house, chat, request, credential=credential, caller=caller)
        return await judging.run(body, receive, send)


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that the guard has let through; it is settled, whatever becomes of it."""

    asked: Question
    offer: Offer
    reservation: Reservation
    limits: Headers


class Judging:
    """One request of a caller whom we know."""

    def __init__(self, house: House, chat: Chat, request: Request, *, credential: Credential, caller: Caller) -> None:
        self._house = house
        self._chat = chat
        self._request = request
        self._credential = credential
        self._caller = caller
        self._record = CallRecord()

    async def run(self, body: bytes, receive: Receive, send: Send) -> str:
        """To the end; the code of a refusal."""
        guard = self._chat.guard(self._caller)
        try:
            plan = await self._let_through(guard, body)
        except StudioError as error:
            await send_refusal(send, self._request, error, headers=await guard.limits_of(error))
            return error.code
        code = ""
        try:
            with child(CHAT_UNDER_WAY, settings.STUDIO_LANE).track_inprogress():
                async with until_disconnect(receive):
                    code = await self._answer(plan, send)
        finally:
            self._record.end("client_gone")
            await settle_call(self._chat, plan.offer, plan.reservation, self._record)
        return code

    async def _let_through(self, guard: Guard, body: bytes) -> Plan:
        """Everything that may refuse it before an upstream is asked."""
        if self._house.hub.is_closing:
            raise StudioStops
        task = self._chat.tasks.sentiment
        with guard.reading():
            found = parse_strict(body) if len(body) <= AT_ONCE_BYTES else await asyncio.to_thread(parse_strict, body)
            asked = read_question(found)
            offer = await self._find(asked.model)
            check_lengths(asked, most=offer.max_prompt_chars - len(task.prompt.system), model=offer.slug)
        rate = await guard.count()
        tokens = tokens_of(asked.texts, task)
        chars = sum(map(len, asked.texts))
        reservation = await self._chat.books.reserve(self._caller, model=offer.slug, prompt_chars=chars, tokens=tokens)
        return Plan(asked, offer, reservation, limit_headers(rate, reservation.left))

    async def _find(self, model: str | None) -> Offer:
        """The model; where none is named, the first that the caller may use."""
        books = self._chat.books
        if model is None:
            listed = await books.list_offers(self._caller)
            if not listed:
                raise ModelNotFound("there is no chat model here; GET /v1/models lists yours", field="model")
            model = listed[0].slug
        return await books.find_offer(self._caller, model)

    async def _answer(self, plan: Plan, send: Send) -> str:
        record = self._record
        asker = asker_of(self._caller)
        ask = Moods(self._chat.relay, plan.offer, lacking=self._chat.lacking, record=record, asker=asker)
        try:
            async with self._chat.watch.while_allowed(
                self._house,
                self._credential,
                sender=Whole(),
                end=lambda: record.end("revoked"),
                scope=KeyScope.SENTIMENT,
            ):
                moods = await judge_texts(plan.asked.texts, task=self._chat.tasks.sentiment, ask=ask)
        except StudioError as error:
            record.end(_outcome_of(error))
            await send_refusal(send, self._request, error, headers=plan.limits)
            return error.code
        record.end("done")
        await send_json(
            send, 200, answer_json(plan, moods, record), headers=[*own_headers(self._request), *plan.limits]
        )
        return ""


def check_lengths(asked: Question, *, most: int, model: str) -> None:
    """Whether the model can read each text beside its prompt. Raises `InvalidRequest` naming the text and the bound."""
    for number, text in enumerate(asked.texts):
        if len(text) > most:
            field = "text" if asked.single else f"texts[{number}]"
            raise InvalidRequest(f"{field} too long, max {max(0, most)} chars for {model}", field=field)


def answer_json(plan: Plan, moods: list[Mood], record: CallRecord) -> dict[str, Any]:
    """One mood for one text, `results` in their order for a list."""
    used = {"usage": {"input_tokens": record.tokens_in, "output_tokens": record.tokens_out}}
    if plan.asked.single:
        return {"model": plan.offer.slug, **moods[0].to_json(), **used}
    return {"model": plan.offer.slug, "results": [mood.to_json() for mood in moods], **used}


def _outcome_of(error: StudioError) -> Outcome:
    if isinstance(error, ChatRefused):
        return "refused"
    return "broken" if isinstance(error, SentimentUnclear) else "unavailable"


@dataclass(slots=True)
class Whole:
    """The answer is one JSON at the end: until then nothing is sent, and nobody can be too slow to take it."""

    writing_since: float = 0.0

    async def keep_alive(self) -> None:
        """A client that waits for one JSON can be told nothing."""
