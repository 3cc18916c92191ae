"""Asks an upstream for an answer: chooses one, bounds the wait for its first byte, hands the answer on as it comes.

Until the first byte of an answer another upstream may be asked, once; after it never, for then the client has a part of
an answer already. Whoever leaves the answer, leaves the upstream: its connection is closed in that moment.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from accounts.errors import StudioError
from generation.chat.breaker import Breaker, BreakerOpen, Ticket
from generation.chat.deltas import Delta
from generation.chat.record import CallRecord, Outcome
from generation.chat.request import ChatRequest
from generation.chat.slots import NoPlace, Slots
from generation.chat.targets import Offer, Target, Upstream
from generation.chat.tokens import estimate_prompt
from generation.chat.upstreams import DIALECTS
from generation.chat.upstreams.dialect import AnswerError, Reader
from generation.chat.wire.bounds import Times
from generation.chat.wire.client import Client, Response
from generation.chat.wire.errors import BrokenOff, TookTooLong, WireError
from generation.errors import AnswerBlocked, ChatBroken, ChatBusy, ChatRefused, ChatUnavailable

log = logging.getLogger(__name__)

ATTEMPTS = 2
WARM_S = 240.0  # Ollama keeps a model for five minutes after its last request
QUEUE_S = 5.0  # for a place at an upstream
RETRY_S = 5
ERROR_BYTES = 65_536
ERROR_CHARS = 300
_REQUESTS_FAULT = frozenset({400, 413, 422})
# Where something is: URLs, paths, addresses and hosts with a port.
_PLACE = re.compile(
    r"\w{1,20}://[^\s,;]+|(?<![\w/])~?/(?:[\w.-]+/)+[\w.-]*|\b[A-Za-z]:\\[^\s,;]+"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}\b(?::\d+)?|(?<![\w:])\[?(?=[0-9a-fA-F:]*::)[0-9a-fA-F:]+(?!\w)\]?(?::\d+)?"
    r"|(?<![\w.-])(?:localhost|[A-Za-z][\w-]*(?:\.[\w-]+)+):\d{2,5}\b"
)


class _Failed(Exception):
    """One attempt failed before the first byte; `error` is what the client is told where no other follows."""

    def __init__(self, error: StudioError, *, stale: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.stale = stale  # of a kept connection: the same upstream may be asked once more


@dataclass(frozen=True, slots=True)
class _Lease:
    """A place at an upstream, and leave to ask it."""

    target: Target
    ticket: Ticket


class Relay:
    """One for each process. Belongs to one event loop."""

    def __init__(
        self,
        breaker: Breaker,
        client: Client | None = None,
        *,
        queue_s: float = QUEUE_S,
        note_open: Callable[[Upstream, bool], None] = lambda upstream, is_open: None,
    ) -> None:
        self.breaker = breaker
        self.client = client or Client()
        self.slots = Slots()
        self._queue_s = queue_s
        self._note_open = note_open  # whether an upstream's breaker is open, as often as it is looked at
        self._warm: dict[tuple[str, str], float] = {}

    async def open(self, request: ChatRequest, offer: Offer, record: CallRecord | None = None) -> Answer:
        """An answer whose first byte has come; the caller leaves it with `async with`.

        `record` is filled as things happen. Raises `ChatUnavailable`, `ChatBusy`, `ChatRefused`, `ChatBroken`, and
        `InvalidRequest` for what this kind of upstream cannot be asked.
        """
        record = CallRecord() if record is None else record
        record.prompt_estimate = record.prompt_estimate or estimate_prompt(request)
        tried: set[str] = set()
        fresh = False
        failed: StudioError | None = None
        try:
            for _ in range(ATTEMPTS):
                targets = [target for target in offer.targets if target.upstream.id not in tried]
                if not targets:
                    break
                lease = await self._lease(targets, failed)
                record.attempts += 1
                record.upstream = lease.target.upstream.id
                try:
                    return await self._ask(request, lease, record, fresh=fresh)
                except _Failed as error:
                    failed, fresh = error.error, error.stale
                    if not error.stale:
                        tried.add(lease.target.upstream.id)
            raise failed or ChatUnavailable("no server answers for this model; try again", retry_after_s=RETRY_S)
        except StudioError as error:
            record.end("refused" if error.kind == "invalid" else "unavailable")
            raise
        except asyncio.CancelledError:
            record.end("client_gone")
            raise

    def close(self) -> None:
        """Close the connections that are kept."""
        self.client.close()

    # ---- choosing

    async def _lease(self, targets: Sequence[Target], failed: StudioError | None) -> _Lease:
        """The least busy target whose breaker lets us ask. Raises `ChatUnavailable`, `ChatBusy`, or `failed`."""
        rests: list[float] = []
        full: list[Target] = []
        for target in self.slots.order(targets):
            if not self.slots.take(target):
                full.append(target)
            elif lease := await self._admit(target, rests):
                return lease
        if full and failed is None:
            return await self._lease_later(full, rests)
        if failed is not None:
            raise failed
        left = max(1, math.ceil(min(rests, default=RETRY_S)))
        raise ChatUnavailable("the servers of this model do not answer just now; try again", retry_after_s=left)

    async def _lease_later(self, targets: Sequence[Target], rests: list[float]) -> _Lease:
        until = time.monotonic() + self._queue_s
        while (left := until - time.monotonic()) > 0:
            try:
                target = await self.slots.wait(targets, seconds=left)
            except NoPlace:
                break
            if lease := await self._admit(target, rests):
                return lease
            targets = [other for other in targets if other is not target]
            if not targets:
                raise ChatUnavailable(
                    "the servers of this model do not answer just now; try again",
                    retry_after_s=max(1, math.ceil(min(rests))),
                )
        raise ChatBusy("the servers of this model are busy; try again", retry_after_s=RETRY_S)

    async def _admit(self, target: Target, rests: list[float]) -> _Lease | None:
        """Leave to ask a target at which we have a place; without it the place is given back."""
        upstream = target.upstream
        try:
            ticket = await self.breaker.admit(upstream.id, probe_s=self._times(target).first_byte + 1)
        except BreakerOpen as error:
            rests.append(error.left_s)
            self.slots.release(upstream.id)
            self._note_open(upstream, True)
            return None
        except BaseException:
            self.slots.release(upstream.id)
            raise
        self._note_open(upstream, bool(ticket.probe))
        return _Lease(target, ticket)

    def _times(self, target: Target) -> Times:
        """The upstream's bounds; the first byte's is longer while its model may be loading."""
        upstream = target.upstream
        if upstream.loading_s <= upstream.times.first_byte:
            return upstream.times
        heard = self._warm.get((upstream.id, target.model), -math.inf)
        is_warm = time.monotonic() - heard < WARM_S
        return upstream.times if is_warm else replace(upstream.times, first_byte=upstream.loading_s)

    # ---- asking

    async def _ask(self, request: ChatRequest, lease: _Lease, record: CallRecord, *, fresh: bool) -> Answer:
        """One attempt, up to the first byte. Raises `_Failed`, `ChatRefused`, `InvalidRequest`."""
        upstream = lease.target.upstream
        dialect = DIALECTS[upstream.kind]
        response: Response | None = None
        try:
            call = dialect.build(request, lease.target)
            times = self._times(lease.target)
            response = await self.client.send(
                upstream.origin, "POST", call.path, headers=call.headers, body=call.body, times=times, fresh=fresh
            )
            if response.head.status != 200:
                await self._refuse(response, lease, request)
            data = await response.read()
            if not data:
                raise BrokenOff("an empty answer")
            reader = dialect.reader(response.head.media_type)
            first = read_first(reader, data)
            record.note_first_byte()
            self._warm[upstream.id, lease.target.model] = time.monotonic()
            answer = Answer(self, lease, response, reader, record, first=first)
            if lease.ticket.probe:
                await self.breaker.succeed(lease.ticket)
        except (WireError, AnswerError) as error:
            self._leave(lease, response)
            log.warning("upstream %s failed: %s", upstream.name or upstream.id, error)
            stale = isinstance(error, BrokenOff) and error.stale
            if stale:
                self.breaker.release(lease.ticket)
            else:
                await self.breaker.fail(lease.ticket, at_once=isinstance(error, TookTooLong) and error.first)
            why = "the server of this model did not answer; try again"
            raise _Failed(ChatUnavailable(why, retry_after_s=RETRY_S), stale=stale) from None
        except BaseException:
            self._leave(lease, response)
            self.breaker.release(lease.ticket)
            raise
        return answer

    async def _refuse(self, response: Response, lease: _Lease, request: ChatRequest) -> None:
        """An answer with an error's status. Always raises; only 5xx is the upstream's failure."""
        status, upstream = response.head.status, lease.target.upstream
        name = upstream.name or upstream.id
        if status >= 500 or status < 400:
            raise BrokenOff(f"status {status}")
        try:
            said = DIALECTS[upstream.kind].read_error(await response.read_all(most=ERROR_BYTES))
        except WireError:  # the status says enough
            said = ""
        if status in _REQUESTS_FAULT:
            said = shown_error(said, lease.target.model, request.model, upstream.credential)
            raise ChatRefused(said, field="messages")
        # Our credential, our path, our rate: staff must know, and the client cannot help it.
        log.log(logging.WARNING if status == 429 else logging.ERROR, "upstream %s answers %d", name, status)
        raise _Failed(ChatUnavailable("the server of this model does not take requests", retry_after_s=RETRY_S * 2))

    def _leave(self, lease: _Lease, response: Response | None) -> None:
        if response is not None:
            response.close()
        self.slots.release(lease.target.upstream.id)


class Answer:
    """One answer, from its first byte on. `async with` it, and iterate over its deltas."""

    def __init__(
        self, relay: Relay, lease: _Lease, response: Response, reader: Reader, record: CallRecord, *, first: list[Delta]
    ) -> None:
        self._relay = relay
        self._lease = lease
        self._response = response
        self._reader = reader
        self._first = first
        self._has_verdict = bool(lease.ticket.probe)  # a probe's is its first byte
        self._is_whole = False
        self.record = record

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the upstream go; one that has not ended yet is cut off at once."""
        self.record.end(outcome_of(kind))
        try:
            if self._is_whole:
                await self._response.settle()
        finally:
            self._response.close()
            self._relay.slots.release(self._lease.target.upstream.id)
            if not self._has_verdict:
                self._relay.breaker.release(self._lease.ticket)

    async def deltas(self) -> AsyncIterator[Delta]:
        """The answer's steps; the last has the reason for its end, or the usage. Raises `ChatBroken`."""
        async for deltas in self.batches():
            for delta in deltas:
                yield delta

    async def batches(self) -> AsyncIterator[list[Delta]]:
        """The same, those together that came together."""
        try:
            async for deltas in self._read():
                for delta in deltas:
                    self.record.note(delta)
                yield deltas
        except Exception as error:
            if not isinstance(error, (WireError, AnswerError)):  # our reader's own: for the client it is the same
                log.exception("an answer could not be read")
            await self._note_broken(error)
            raise ChatBroken("the server of this model broke off its answer; try again", retry_after_s=1) from None
        self._is_whole = True
        self.record.end("done")
        if self.record.is_estimated:
            yield [Delta(usage=self.record.counted())]
        if not self._has_verdict:
            self._has_verdict = True
            await self._relay.breaker.succeed(self._lease.ticket)

    async def _read(self) -> AsyncIterator[list[Delta]]:
        yield self._first
        while not self._reader.done:
            data = await self._response.read()
            yield self._reader.feed(data) if data else self._reader.end()
            if not data:
                return

    async def _note_broken(self, error: Exception) -> None:
        upstream = self._lease.target.upstream
        log.warning("upstream %s broke off: %s", upstream.name or upstream.id, error)
        self.record.end("broken")
        self._response.close()
        if isinstance(error, TookTooLong) and not error.waited:
            return  # a client that takes its answer too slowly: no verdict about the server
        self._has_verdict = True
        await self._relay.breaker.fail(self._lease.ticket)


def read_first(reader: Reader, data: bytes) -> list[Delta]:
    """The answer's beginning: nobody has heard of it yet, so what cannot be read is as none. Raises `AnswerError`."""
    try:
        return reader.feed(data)
    except AnswerError:
        raise
    except Exception as error:  # our reader's own: the server's fault or ours, there is no answer
        log.exception("an answer could not be read")
        raise AnswerError("it cannot be read") from error


def outcome_of(kind: type[BaseException] | None) -> Outcome:
    """What an answer has come to that was left before its end."""
    if kind is None:
        return "stopped"
    if issubclass(kind, AnswerBlocked):
        return "blocked"
    return "revoked" if issubclass(kind, StudioError) else "client_gone"


def shown_error(said: str, theirs: str, ours: str, credential: str = "") -> str:
    """An upstream's message as a client may see it: one line, our name of the model, no addresses, paths or secret."""
    if credential:  # some tell the headers that they got
        said = said.replace(credential, "…")
    words = " ".join(said[: ERROR_CHARS * 2].split()).replace(theirs, ours)
    words = _PLACE.sub("…", words)[:ERROR_CHARS]
    return f"the model's server refuses this request: {words}" if words else "the model's server refuses this request"
