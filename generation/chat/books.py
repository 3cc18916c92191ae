"""What the gateway asks of the tables: which models there are, whose rules hold, and who pays. The door brings it.

A call is reserved by estimate before an upstream is asked, and settled by what was used, once, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from accounts.domain.callers import Caller
from generation.chat.filters.rules import RuleSet
from generation.chat.record import CallRecord
from generation.chat.targets import Offer

TOKENS_GIVEN = 512  # tokens of an answer that are reserved, where the request allows as many


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A chat model in a list."""

    slug: str
    title: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensLeft:
    """Where the day's tokens stand after a reserve; `limit` is the nearest one of tenant, member and key."""

    limit: int
    left: int
    resets_in_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A call that is under way. `fence` is the one that may settle it."""

    id: UUID
    tenant: UUID
    fence: int
    tokens: int
    left: TokensLeft | None = None  # None: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The words of a call, for a tenant that keeps them."""

    prompt: str
    answer: str


class Books(Protocol):
    """The tables, for one process. Everything is in the caller's tenant."""

    async def open(self) -> None:
        """Begin; the process starts."""
        ...

    async def close(self) -> None:
        """Write what is not written yet; the process ends."""
        ...

    async def find_offer(self, caller: Caller, slug: str) -> Offer:
        """A chat model that the caller's tenant may use. Raises `ModelNotFound`."""
        ...

    async def list_offers(self, caller: Caller) -> Sequence[Listed]:
        """All of them, in their order."""
        ...

    async def rules_of(self, caller: Caller) -> RuleSet | None:
        """The tenant's rules for answers; None where it has none."""
        ...

    async def reserve(self, caller: Caller, *, model: str, prompt_chars: int, tokens: int) -> Reservation:
        """Set tokens and a place aside. Raises `QuotaExceeded` (tokens, concurrency), having changed nothing."""
        ...

    async def tokens_left(self, caller: Caller) -> TokensLeft | None:
        """Where the day's tokens stand, a moment old at most; None where nothing limits them."""
        ...

    async def settle(self, reservation: Reservation, record: CallRecord, kept: Kept | None = None) -> None:
        """Charge what was used, and note what came of the call. A second time changes nothing.

        `kept` are the words, for a tenant that keeps them.
        """
        ...
