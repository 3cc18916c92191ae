"""Asks a model's upstreams for moods, by the relay's own breaker, places and connections.

A choice is one JSON each way. Which upstreams can choose nobody writes down: one that knows no such path is asked in
words from then on, and again for a choice after `FORGOTTEN_S`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import orjson

from generation.chat.breaker import BreakerOpen
from generation.chat.deltas import Usage
from generation.chat.record import CallRecord
from generation.chat.relay import ATTEMPTS, QUEUE_S, RETRY_S, Relay, shown_error
from generation.chat.request import ChatRequest, Effort, Message, Role, TextPart
from generation.chat.sentiment import CHOICE_PATH, CannotChoose
from generation.chat.slots import NoPlace
from generation.chat.targets import Offer, Target
from generation.chat.tokens import BYTES_PER_TOKEN
from generation.chat.upstreams import DIALECTS
from generation.chat.upstreams.dialect import AnswerError, count_in, headers_of, parse_object
from generation.chat.wire.client import Response
from generation.chat.wire.errors import BrokenOff, TookTooLong, WireError
from generation.errors import ChatBusy, ChatRefused, ChatUnavailable

log = logging.getLogger(__name__)

ANSWER_BYTES = 65_536
FORGOTTEN_S = 600.0
_UNKNOWN_PATH = frozenset({404, 405, 501})
_REQUESTS_FAULT = frozenset({400, 413, 422})


class _Failed(Exception):
    """An upstream was asked and gave no answer; the log says why. `stale`: a kept connection had ended."""

    def __init__(self, *, stale: bool = False) -> None:
        super().__init__("no answer")
        self.stale = stale


class Moods:
    """One request for moods, of one or of many texts. `record` counts what all of its questions used.

    `lacking` is the process's memory: upstreams that cannot choose, by id, and when that was seen.
    """

    def __init__(
        self, relay: Relay, offer: Offer, *, lacking: MutableMapping[str, float], record: CallRecord | None = None
    ) -> None:
        self._relay, self._offer, self._lacking = relay, offer, lacking
        self.record = CallRecord() if record is None else record

    # ---- choosing

    @property
    def chooses(self) -> bool:
        """Whether any upstream may have `/v1/systemone`."""
        return bool(self._choosers())

    async def choose(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer's JSON. Raises `CannotChoose`, `ChatUnavailable`, `ChatBusy`, `ChatRefused`."""
        failed: set[str] = set()
        fresh = False
        for _ in range(ATTEMPTS):
            targets = [target for target in self._choosers() if target.upstream.id not in failed]
            if not targets:
                break
            target = await self._take_place(targets)
            try:
                return await self._ask(target, body, fresh=fresh)
            except _Failed as error:
                fresh = error.stale
                if not fresh:
                    failed.add(target.upstream.id)
            except BreakerOpen:
                failed.add(target.upstream.id)
            except CannotChoose:
                self._lacking[target.upstream.id] = time.monotonic()
            finally:
                self._relay.slots.release(target.upstream.id)
        if failed and len(self._choosers()) == len(self._offer.targets):  # nobody is left who answers in words
            raise ChatUnavailable("the servers of this model do not answer just now; try again", retry_after_s=RETRY_S)
        raise CannotChoose

    def _choosers(self) -> list[Target]:
        now = time.monotonic()
        return [
            target
            for target in self._offer.targets
            if target.upstream.kind == "openai"
            and now - self._lacking.get(target.upstream.id, -FORGOTTEN_S) >= FORGOTTEN_S
        ]

    async def _take_place(self, targets: Sequence[Target]) -> Target:
        """At the least busy of them, or the first that has one. Raises `ChatBusy`."""
        slots = self._relay.slots
        for target in slots.order(targets):
            if slots.take(target):
                return target
        try:
            return await slots.wait(targets, seconds=QUEUE_S)
        except NoPlace:
            raise ChatBusy("the servers of this model are busy; try again", retry_after_s=RETRY_S) from None

    async def _ask(self, target: Target, body: Mapping[str, Any], *, fresh: bool) -> Mapping[str, Any]:
        """One question to an upstream at which we have a place."""
        breaker, upstream = self._relay.breaker, target.upstream
        ticket = await breaker.admit(upstream.id, probe_s=upstream.times.first_byte + 1)
        self.record.attempts += 1
        self.record.upstream = upstream.id
        sent = orjson.dumps({**body, "model": target.model})
        try:
            response = await self._relay.client.send(
                upstream.origin,
                "POST",
                CHOICE_PATH,
                headers=headers_of(upstream),
                body=sent,
                times=upstream.times,
                fresh=fresh,
            )
            try:
                found = await self._read(response, target)
            finally:
                response.close()
        except (WireError, AnswerError) as error:
            log.warning("upstream %s failed: %s", upstream.name or upstream.id, error)
            stale = isinstance(error, BrokenOff) and error.stale
            if stale:
                breaker.release(ticket)
            else:
                await breaker.fail(ticket, at_once=isinstance(error, TookTooLong) and error.first)
            raise _Failed(stale=stale) from error
        except BaseException:
            breaker.release(ticket)
            raise
        await breaker.succeed(ticket)
        self._note_first_byte()
        usage = found.get("usage")
        counted = count_in(usage, "input_tokens") if isinstance(usage, dict) else 0
        self._count(Usage(prompt=counted or -(-len(sent) // BYTES_PER_TOKEN), completion=1))
        return found

    async def _read(self, response: Response, target: Target) -> Mapping[str, Any]:
        """The answer's JSON. Raises `AnswerError`, `WireError`; 4xx are no failure of the upstream."""
        status, upstream = response.head.status, target.upstream
        data = await response.read_all(most=ANSWER_BYTES)
        if status in _UNKNOWN_PATH:
            raise CannotChoose
        if status in _REQUESTS_FAULT:
            said = DIALECTS[upstream.kind].read_error(data)
            raise ChatRefused(shown_error(said, target.model, self._offer.slug, upstream.credential), field="text")
        if 400 <= status < 500:  # our credential, our rate: staff must know
            level = logging.WARNING if status == 429 else logging.ERROR
            log.log(level, "upstream %s answers %d", upstream.name or upstream.id, status)
            raise _Failed
        if status != 200:
            raise AnswerError(f"status {status}")
        return parse_object(data)

    # ---- in words

    async def say(self, messages: Sequence[Mapping[str, str]], *, temperature: float, max_tokens: int) -> str:
        """The text of the answer to a conversation. Raises what the relay raises."""
        request = ChatRequest(
            model=self._offer.slug,
            messages=tuple(Message(role=_role(one["role"]), parts=(TextPart(one["content"]),)) for one in messages),
            prompt_chars=sum(len(one["content"]) for one in messages),
            temperature=temperature,
            max_tokens=max_tokens,
            reasoning_effort=self._effort,
        )
        record = CallRecord()
        words = []
        try:
            async with await self._relay.open(request, self._offer, record) as answer:
                self._note_first_byte()
                async for delta in answer.deltas():
                    words.append(delta.text)
        finally:
            self.record.attempts += record.attempts
            self.record.upstream = record.upstream or self.record.upstream
            if record.first_byte_ms is not None:
                self._count(Usage(prompt=record.tokens_in, completion=record.tokens_out))
        return "".join(words)

    @property
    def _effort(self) -> Effort | None:
        """Ollama lets models think that can, unless it is told not to: no word comes then. Elsewhere the model's."""
        if all(target.upstream.kind == "ollama" for target in self._offer.targets):
            return "none"
        effort: Effort | None = self._offer.sampling.get("reasoning_effort")
        return effort

    def _note_first_byte(self) -> None:
        """The first of them all counts."""
        if self.record.first_byte_ms is None:
            self.record.note_first_byte()

    def _count(self, used: Usage) -> None:
        before = self.record.usage or Usage(0, 0)
        self.record.usage = Usage(before.prompt + used.prompt, before.completion + used.completion)


def _role(name: str) -> Role:
    return "system" if name == "system" else "assistant" if name == "assistant" else "user"
