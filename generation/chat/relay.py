"""Asks an upstream (`leases.py` says which) for an answer, and hands the answer on as it comes.

Until the first byte of an answer another upstream may be asked, once; after it never, for then the client has a part of
an answer already. Whoever leaves the answer, leaves the upstream: its connection is closed in that moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from accounts.errors import StudioError
from generation.chat.breaker import Breaker
from generation.chat.deltas import Delta
from generation.chat.leases import QUEUE_S, Lease, Leases
from generation.chat.record import CallRecord, Outcome
from generation.chat.refusing import check_status
from generation.chat.request import ChatRequest
from generation.chat.slots import OURSELVES, Asker
from generation.chat.targets import Offer, Upstream
from generation.chat.tokens import estimate_prompt
from generation.chat.upstreams import DIALECTS
from generation.chat.upstreams.dialect import AnswerError, Reader
from generation.chat.wire.client import Client, Response
from generation.chat.wire.errors import BrokenOff, TookTooLong, WireError
from generation.errors import AnswerBlocked, ChatBroken

log = logging.getLogger(__name__)


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
        self.client = client or Client()
        self.leases = Leases(breaker, queue_s=queue_s, note_open=note_open)

    async def open(
        self, request: ChatRequest, offer: Offer, record: CallRecord | None = None, *, asker: Asker = OURSELVES
    ) -> Answer:
        """An answer whose first byte has come; the caller leaves it with `async with`.

        `record` is filled as things happen. Raises `ChatUnavailable`, `ChatBusy`, `ChatRefused`, `ChatBroken`, and
        `InvalidRequest` for what this kind of upstream cannot be asked.
        """
        record = CallRecord() if record is None else record
        record.prompt_estimate = record.prompt_estimate or estimate_prompt(request)

        async def ask(lease: Lease, fresh: bool) -> Answer:
            return await self._ask(request, lease, record, fresh=fresh)

        try:
            return await self.leases.attempt(offer.targets, ask, asker=asker, record=record)
        except StudioError as error:
            record.end("refused" if error.kind == "invalid" else "unavailable")
            raise
        except asyncio.CancelledError:
            record.end("client_gone")
            raise

    def close(self) -> None:
        """Close the connections that are kept."""
        self.client.close()

    async def _ask(self, request: ChatRequest, lease: Lease, record: CallRecord, *, fresh: bool) -> Answer:
        """One attempt, up to the first byte. Raises `AttemptFailed`, `ChatRefused`, `InvalidRequest`."""
        target, upstream = lease.target, lease.upstream
        dialect = DIALECTS[upstream.kind]
        response: Response | None = None
        try:
            call = dialect.build(request, target)
            times = self.leases.times(target)
            response = await self.client.send(
                upstream.origin, "POST", call.path, headers=call.headers, body=call.body, times=times, fresh=fresh
            )
            await check_status(response, target, model=request.model, field="messages")
            data = await response.read()
            if not data:
                raise BrokenOff("an empty answer")
            reader = dialect.reader(response.head.media_type)
            first = read_first(reader, data)
            record.note_first_byte()
            self.leases.note_warm(target)
            answer = Answer(self.leases, lease, response, reader, record, first=first)
            if lease.ticket.probe:
                await self.leases.breaker.succeed(lease.ticket)
        except BaseException as error:
            if response is not None:
                response.close()
            await self.leases.give_up(lease, error)
            raise
        return answer


class Answer:
    """One answer, from its first byte on. `async with` it, and iterate over its deltas."""

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        response: Response,
        reader: Reader,
        record: CallRecord,
        *,
        first: list[Delta],
    ) -> None:
        self._leases = leases
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
            self._leases.slots.release(self._lease.place)
            if not self._has_verdict:
                self._leases.breaker.release(self._lease.ticket)

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
            await self._leases.breaker.succeed(self._lease.ticket)

    async def _read(self) -> AsyncIterator[list[Delta]]:
        yield self._first
        while not self._reader.done:
            data = await self._response.read()
            yield self._reader.feed(data) if data else self._reader.end()
            if not data:
                return

    async def _note_broken(self, error: Exception) -> None:
        upstream = self._lease.upstream
        log.warning("upstream %s broke off: %s", upstream.name or upstream.id, error)
        self.record.end("broken")
        self._response.close()
        if isinstance(error, TookTooLong) and not error.waited:
            return  # a client that takes its answer too slowly: no verdict about the server
        self._has_verdict = True
        await self._leases.breaker.fail(self._lease.ticket)


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
