"""Asks a model's upstreams for moods, by the relay's own leases and connections.

A choice is one JSON each way. Which upstreams can choose nobody writes down: one that knows no such path is asked in
words from then on, and again for a choice after `FORGOTTEN_S`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import orjson

from generation.chat.deltas import Usage
from generation.chat.leases import AttemptFailed, Lease
from generation.chat.record import CallRecord
from generation.chat.refusing import check_status
from generation.chat.relay import Relay
from generation.chat.request import ChatRequest, Effort, Message, Role, TextPart
from generation.chat.sentiment import CHOICE_PATH, CannotChoose
from generation.chat.slots import OURSELVES, Asker
from generation.chat.targets import Offer, Target
from generation.chat.tokens import BYTES_PER_TOKEN
from generation.chat.upstreams.dialect import count_in, headers_of, parse_object
from generation.chat.wire.client import Response
from generation.errors import ChatUnavailable

ANSWER_BYTES = 65_536
FORGOTTEN_S = 600.0
_UNKNOWN_PATH = frozenset({404, 405, 501})


class Moods:
    """One request for moods, of one or of many texts. `record` counts what all of its questions used.

    `lacking` is the process's memory: upstreams that cannot choose, by id, and when that was seen.
    """

    def __init__(
        self,
        relay: Relay,
        offer: Offer,
        *,
        lacking: MutableMapping[str, float],
        record: CallRecord | None = None,
        asker: Asker = OURSELVES,
    ) -> None:
        self._relay, self._offer, self._lacking, self._asker = relay, offer, lacking, asker
        self._leases = relay.leases
        self.record = CallRecord() if record is None else record

    # ---- choosing

    @property
    def chooses(self) -> bool:
        """Whether any upstream may have `/v1/systemone`."""
        return bool(self._choosers())

    async def choose(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer's JSON. Raises `CannotChoose`, `ChatUnavailable`, `ChatBusy`, `ChatRefused`."""

        async def ask(lease: Lease, fresh: bool) -> Mapping[str, Any]:
            return await self._ask(lease, body, fresh=fresh)

        try:
            return await self._leases.attempt(self._choosers(), ask, asker=self._asker, record=self.record)
        except ChatUnavailable:
            if len(self._choosers()) == len(self._offer.targets):  # nobody is left who answers in words
                raise
            raise CannotChoose from None

    def _choosers(self) -> list[Target]:
        now = time.monotonic()
        return [
            target
            for target in self._offer.targets
            if target.upstream.kind == "openai"
            and now - self._lacking.get(target.upstream.id, -FORGOTTEN_S) >= FORGOTTEN_S
        ]

    async def _ask(self, lease: Lease, body: Mapping[str, Any], *, fresh: bool) -> Mapping[str, Any]:
        """One attempt. Raises `AttemptFailed`, `ChatRefused`."""
        target, upstream = lease.target, lease.upstream
        sent = orjson.dumps({**body, "model": target.model})
        try:
            response = await self._relay.client.send(
                upstream.origin,
                "POST",
                CHOICE_PATH,
                headers=headers_of(upstream),
                body=sent,
                times=self._leases.times(target),
                fresh=fresh,
            )
            try:
                found = await self._read(response, target)
            finally:
                response.close()
            await self._leases.breaker.succeed(lease.ticket)
        except BaseException as error:
            await self._leases.give_up(lease, error)
            raise
        self._leases.slots.release(lease.place)
        self._leases.note_warm(target)
        self._note_first_byte()
        usage = found.get("usage")
        counted = count_in(usage, "input_tokens") if isinstance(usage, dict) else 0
        self._count(Usage(prompt=counted or -(-len(sent) // BYTES_PER_TOKEN), completion=1))
        return found

    async def _read(self, response: Response, target: Target) -> Mapping[str, Any]:
        """The answer's JSON."""
        if response.head.status in _UNKNOWN_PATH:
            self._lacking[target.upstream.id] = time.monotonic()
            raise AttemptFailed(CannotChoose())
        await check_status(response, target, model=self._offer.slug, field="text")
        return parse_object(await response.read_all(most=ANSWER_BYTES))

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
            async with await self._relay.open(request, self._offer, record, asker=self._asker) as answer:
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
