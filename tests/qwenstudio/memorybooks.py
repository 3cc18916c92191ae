"""The gateway's books in memory, for tests of what stands before and after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from accounts.domain.callers import Caller
from accounts.errors import QuotaExceeded
from accounts.ids import uuid7
from generation.chat.books import Kept, Listed, Reservation, TokensLeft
from generation.chat.filters.rules import Rule, RuleSet, compile_rules
from generation.chat.record import CallRecord
from generation.chat.targets import Offer
from generation.errors import ModelNotFound


@dataclass
class MemoryBooks:
    """One chat model, one day's tokens, and a list of what was settled."""

    offer: Offer
    rules: tuple[Rule, ...] = ()
    tokens: int | None = None
    used: int = 0
    reserved: dict[object, Reservation] = field(default_factory=dict)
    settled: list[tuple[Reservation, CallRecord]] = field(default_factory=list)

    async def open(self) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to end."""

    async def find_offer(self, caller: Caller, slug: str) -> Offer:
        if slug != self.offer.slug:
            raise ModelNotFound(f"no model named {slug[:60]!r}; GET /v1/models lists yours", field="model")
        return self.offer

    async def list_offers(self, caller: Caller) -> Sequence[Listed]:
        return [Listed(slug=self.offer.slug, title=self.offer.slug, created_at=datetime(2026, 11, 26, tzinfo=UTC))]

    async def rules_of(self, caller: Caller) -> RuleSet | None:
        return compile_rules(self.rules)

    async def reserve(self, caller: Caller, *, model: str, prompt_chars: int, tokens: int) -> Reservation:
        if self.tokens is not None and self.used + tokens > self.tokens:
            raise QuotaExceeded("no tokens left", limit="tokens_per_day", retry_after_s=3600, quota=self.tokens)
        self.used += tokens
        made = Reservation(
            id=uuid7(), tenant=caller.tenant, fence=1, tokens=tokens, left=await self.tokens_left(caller)
        )
        self.reserved[made.id] = made
        return made

    async def tokens_left(self, caller: Caller) -> TokensLeft | None:
        if self.tokens is None:
            return None
        return TokensLeft(limit=self.tokens, left=max(0, self.tokens - self.used), resets_in_s=3600)

    async def settle(self, reservation: Reservation, record: CallRecord, kept: Kept | None = None) -> None:
        if self.reserved.pop(reservation.id, None) is not None:
            self.used += record.tokens_in + record.tokens_out - reservation.tokens
            self.settled.append((reservation, replace(record)))
