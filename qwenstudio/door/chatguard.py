"""What stands before a chat call, in this order: key → networks → scope, size of the body and model → length of the
prompt → rate → tokens of the day and concurrency. Whoever is refused costs nothing that comes after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounts.api.openai.limits import duration
from accounts.api.rates import Rate, TooManyRequests, Window
from accounts.domain.callers import Caller
from accounts.domain.limits import MAX_LARGE_LIMIT as UNLIMITED
from accounts.enums import Scope as KeyScope
from accounts.errors import InvalidKey, NotAllowed, StudioError, TenantSwitched
from accounts.web.entrance import PAGE_TENANT
from generation.chat.books import TOKENS_GIVEN, Books, Reservation, TokensLeft
from generation.chat.filters.rules import RuleSet
from generation.chat.reader import MAX_BODY_BYTES, check_prompt, read_chat
from generation.chat.record import CallRecord
from generation.chat.request import ChatRequest, with_task
from generation.chat.slots import Asker
from generation.chat.targets import Offer
from generation.chat.tasks import ChatTask
from generation.chat.tokens import estimate_prompt
from generation.errors import StudioStops
from qwenstudio.door.bridge import collect_body, declared_length
from qwenstudio.door.callers import Credential, find_credential, refusal_of_wrong_key
from qwenstudio.door.chatrates import ChatRates
from qwenstudio.door.http import Headers, Receive, Request, Scope, Send, send_problem
from qwenstudio.door.refusals import note_refused_stream
from qwenstudio.door.sameorigin import check_same_origin

if TYPE_CHECKING:
    from qwenstudio.door.app import House

JSON_TYPES = ("application/json", "")
AT_ONCE_BYTES = 32_768  # what is longer is read in a thread: a megabyte may take a fifth of a second


async def enter_chat(
    house: House, request: Request, *, scope: KeyScope = KeyScope.CHAT, pages: bool = False
) -> tuple[Credential, Caller]:
    """Who asks: key (with `pages` also a session, from a page of ours), networks, scope.

    Raises `InvalidKey`, `TooManyWrongKeys`, `NotSignedIn`, `NotAllowed`.
    """
    credential: Credential | None = None
    caller: Caller | None = None
    try:
        credential = await find_credential(house.pages, request)
        if credential.kind != "key" and pages:
            check_same_origin(request)
        elif credential.kind != "key":
            raise NotAllowed(f"send an api key (Authorization: Bearer qs_…): {request.path} is for programs")
        caller = await house.callers.find(credential)
        caller.require_scope(scope.value)
        if request.headers.get(PAGE_TENANT.lower(), str(caller.tenant)) != str(caller.tenant):
            raise TenantSwitched
    except InvalidKey as error:
        await note_refused_stream(request, error, credential)
        raise await refusal_of_wrong_key(request.address) from None
    except NotAllowed as error:
        if caller is not None:
            error.tenant, error.key = caller.tenant, caller.key
        await note_refused_stream(request, error, credential)
        raise
    return credential, caller


async def read_whole(request: Request, scope: Scope, receive: Receive, send: Send) -> bytes | None:
    """The body; None where its size or type was refused. Raises `ClientGone`, `BodyTooSlow`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in JSON_TYPES:
        await send_problem(
            send, request, 415, code="unsupported_media_type", detail="send application/json, not another type"
        )
        return None
    length = declared_length(scope) or 0
    body = b""
    if length <= MAX_BODY_BYTES:
        body, length = await collect_body(receive, MAX_BODY_BYTES)
    if length > MAX_BODY_BYTES:
        detail = f"the body has more than {MAX_BODY_BYTES} bytes"
        await send_problem(
            send, request, 413, code="body_too_large", detail=detail, headers=[(b"connection", b"close")]
        )
        return None
    return body


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that the guard has let through; from here on it is settled, whatever becomes of it."""

    asked: ChatRequest
    offer: Offer
    rules: RuleSet | None
    rate: Rate
    reservation: Reservation
    record: CallRecord
    asker: Asker


class Guard:
    """Of one request of a caller whom we know."""

    def __init__(self, caller: Caller, *, books: Books, rates: ChatRates, task: ChatTask) -> None:
        self._caller = caller
        self._task = task
        self._books = books
        self._rates = rates
        self._rate: Rate | None = None

    async def let_through(self, body: bytes, *, is_closing: bool) -> Plan:
        """Everything that may refuse a call before an upstream is asked. Raises it; then nothing is reserved."""
        if is_closing:
            raise StudioStops
        asked, offer = await self._read(body)
        return await self._admit(asked, offer)

    async def admit(self, asked: ChatRequest) -> Plan:
        """The same from the model on, for what needs no reading."""
        return await self._admit(asked, await self._offer_of(asked))

    async def _admit(self, asked: ChatRequest, offer: Offer) -> Plan:
        books = self._books
        asked = with_task(asked, self._task, sampling=offer.sampling, max_tokens=offer.max_tokens)
        rules = await books.rules_of(self._caller)
        rate = await self.count()
        record = CallRecord(prompt_estimate=estimate_prompt(asked))
        tokens = record.prompt_estimate + min(asked.max_tokens or TOKENS_GIVEN, TOKENS_GIVEN)
        reservation = await books.reserve(
            self._caller, model=offer.slug, prompt_chars=asked.prompt_chars, tokens=tokens
        )
        return Plan(asked, offer, rules, rate, reservation, record, asker_of(self._caller))

    async def count(self) -> Rate:
        """Count the request for the minute. Raises `TooManyRequests`."""
        self._rate = await self._rates.count(self._caller)
        return self._rate

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around whatever looks into a body: whoever is refused too often there is not read any longer for a while."""
        self._rates.check_refused(self._caller)
        try:
            yield
        except StudioError:
            self._rates.note_refused(self._caller)
            raise

    async def _read(self, body: bytes) -> tuple[ChatRequest, Offer]:
        """What is asked of which model."""
        with self.reading():
            if len(body) <= AT_ONCE_BYTES:
                asked = read_chat(body, max_prompt_chars=None)
            else:
                asked = await asyncio.to_thread(read_chat, body, max_prompt_chars=None)
            offer = await self._offer_of(asked)
        return asked, offer

    async def _offer_of(self, asked: ChatRequest) -> Offer:
        offer = await self._books.find_offer(self._caller, asked.model)
        check_prompt(asked, offer.max_prompt_chars)
        return offer

    async def limits_of(self, error: StudioError) -> Headers:
        """What a refusal tells of the limits, beside its own headers."""
        rate = self._rate
        if isinstance(error, TooManyRequests):
            quota, rest_s = error.quota or 0, error.retry_after_s or 1
            rate = Rate((Window(limit=error.limit or "", quota=quota, left=0, resets_in_s=rest_s),))
        if rate is None:  # it was not counted
            return []
        found = limit_headers(rate, await self._books.tokens_left(self._caller))
        return [(name, value) for name, value in found if name.startswith(b"x-")]


def asker_of(caller: Caller) -> Asker:
    """Whose turns at a busy upstream the caller's requests are."""
    return Asker(str(caller.tenant), caller.plan.weight)


def limit_headers(rate: Rate, tokens: TokensLeft | None) -> Headers:
    """`RateLimit`, `RateLimit-Policy`, and OpenAI's six: requests of the minute, tokens of the day."""
    nearest = min(rate.windows, key=lambda window: window.left)
    left = tokens or TokensLeft(limit=UNLIMITED, left=UNLIMITED, resets_in_s=0)
    found = {
        **{name.lower(): value for name, value in rate.headers().items()},
        "x-ratelimit-limit-requests": str(nearest.quota),
        "x-ratelimit-remaining-requests": str(nearest.left),
        "x-ratelimit-reset-requests": duration(nearest.resets_in_s),
        "x-ratelimit-limit-tokens": str(left.limit),
        "x-ratelimit-remaining-tokens": str(left.left),
        "x-ratelimit-reset-tokens": duration(left.resets_in_s),
    }
    return [(name.encode(), value.encode()) for name, value in found.items()]
