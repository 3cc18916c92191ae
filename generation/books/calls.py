"""The books of a chat call: reserved by estimate before an upstream is asked, settled by what was used.

Each step is one call of a function of the database (`generation/migrations/_chat_functions.py`) for any number of calls
of one tenant: counters, ledger and the calls' own rows change together or not at all. Reserving takes what fits and
refuses the rest, one by one; settling closes a call once, under its fence. Periods are UTC days and months.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.domain.quotas import quota_exceeded
from accounts.enums import CounterScope, Metric, Period
from accounts.errors import StudioError
from accounts.ids import uuid7
from generation.chat.books import Kept, Reservation, TokensLeft
from generation.chat.record import CallRecord
from generation.errors import TooManyChats

LEASE_S = 60
RENEW_S = 20.0
FINISH_CHARS = 20

# Parameter: JSON, as the functions' own comments say. They set the tenant in scope themselves.
RESERVE_SQL = "SELECT * FROM chat_reserve_together(%s::jsonb)"
SETTLE_SQL = "SELECT * FROM chat_settle(%s::jsonb)"
RENEW_SQL = "SELECT * FROM chat_renew(%s::jsonb)"
# None of these waits for a disk. This does: what was committed before it, by whomever, is on the disk when it answers.
FLUSH_SQL = "SELECT pg_logical_emit_message(true, 'studio', '')"

# Parameters: tenant, user, key (or null). Runs in the tenant's scope.
LEFT_SQL = """
SELECT ceil(extract(epoch FROM (t.day + 1)::timestamp AT TIME ZONE 'UTC' - now()))::int AS resets_in_s,
       coalesce(sum(c.used + c.reserved) FILTER (WHERE c.scope = 'tenant'), 0)::bigint AS tenant_sum,
       coalesce(sum(c.used + c.reserved) FILTER (WHERE c.scope = 'member'), 0)::bigint AS member_sum,
       coalesce(sum(c.used + c.reserved) FILTER (WHERE c.scope = 'key'), 0)::bigint AS key_sum
  FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS day) t
  LEFT JOIN accounts_counter c
    ON c.tenant_id = %(tenant)s AND c.metric = 'tokens' AND c.period = 'day' AND c.starts_on = t.day
   AND (c.scope, c.scope_id) IN (('tenant', %(tenant)s::uuid), ('member', %(user)s::uuid), ('key', %(key)s::uuid))
 GROUP BY t.day
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A call that wants to be reserved."""

    caller: Caller
    model: str
    prompt_chars: int
    tokens: int

    @property
    def is_limited(self) -> bool:
        """Whether a limit of tokens holds for it, so that it is worth to be told what is left."""
        return any(limit is not None for limit in self.limits)

    @property
    def limits(self) -> tuple[int | None, int | None, int | None]:
        """Tokens a day of tenant, member and key."""
        caller = self.caller
        return caller.plan.tokens_per_day, caller.budget.tokens_per_day, caller.key_limits.tokens_per_day


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall(Reservation):
    """A reserved call with all that its settling needs, also where the database has forgotten its row."""

    user: UUID | None
    key: UUID | None
    model: str
    lane: str
    today: date
    prompt_chars: int


def reserve_call(
    wishes: Sequence[Wish], *, ids: Sequence[UUID], ended: Sequence[UUID] = (), lane: str
) -> dict[str, Any]:
    """What `chat_reserve` takes for calls of one tenant; the plan is the last one's, which was read last.

    `ended`: calls that are over and wait to be settled, which hold no place any more.
    """
    caller = wishes[-1].caller
    return {
        "tenant": caller.tenant,
        "lane": lane,
        "lease_s": LEASE_S,
        "tenant_tokens": caller.plan.tokens_per_day,
        "tenant_calls": caller.plan.concurrent_chats,
        "ended": ended,
        "sums": any(wish.is_limited for wish in wishes),
        "calls": [_asked(wish, id) for wish, id in zip(wishes, ids, strict=True)],
    }


def _asked(wish: Wish, id: UUID) -> dict[str, Any]:
    caller = wish.caller
    return {
        "id": id,
        "entry": uuid7(),
        "member": caller.user,
        "key": caller.key,
        "model": wish.model,
        "tokens": wish.tokens,
        "prompt_chars": wish.prompt_chars,
        "member_tokens": caller.budget.tokens_per_day,
        "key_tokens": caller.key_limits.tokens_per_day if caller.key else None,
        "key_calls": caller.key_limits.concurrent_chats if caller.key else None,
    }


def read_reserved(wish: Wish, id: UUID, row: Mapping[str, Any], *, lane: str) -> OpenCall | StudioError:
    """One row of `chat_reserve`'s answer: the call, or what refuses it."""
    if row["refused"] is not None:
        return refusal_of(wish, row["refused"], resets_in_s=row["resets_in_s"])
    caller = wish.caller
    return OpenCall(
        id=id,
        tenant=caller.tenant,
        fence=1,
        tokens=wish.tokens,
        left=read_left(caller, row),
        user=caller.user,
        key=caller.key,
        model=wish.model,
        lane=lane,
        today=row["today"],
        prompt_chars=wish.prompt_chars,
    )


def read_left(caller: Caller, row: Mapping[str, Any]) -> TokensLeft | None:
    """The nearest limit of the day's tokens, by a row with the sums of `chat_reserve` or `LEFT_SQL`."""
    pairs = (
        (caller.plan.tokens_per_day, row["tenant_sum"]),
        (caller.budget.tokens_per_day, row["member_sum"]),
        (caller.key_limits.tokens_per_day if caller.key else None, row["key_sum"]),
    )
    found = [
        TokensLeft(limit=limit, left=max(0, limit - (used or 0)), resets_in_s=max(1, row["resets_in_s"]))
        for limit, used in pairs
        if limit is not None
    ]
    return min(found, key=lambda one: one.left, default=None)


def refusal_of(wish: Wish, refused: str, *, resets_in_s: int) -> StudioError:
    """The refusal behind a word of `chat_reserve`'s."""
    caller = wish.caller
    if refused == "tenant_calls":
        return TooManyChats(caller.plan.concurrent_chats, of_key=False)
    if refused == "key_calls":
        return TooManyChats(caller.key_limits.concurrent_chats or 0, of_key=True)
    scope = CounterScope(refused)
    ceiling = dict(zip(CounterScope, wish.limits, strict=True))[scope]
    return quota_exceeded(
        scope=scope,
        metric=Metric.TOKENS,
        period=Period.DAY,
        amount=wish.tokens,
        ceiling=ceiling or 0,
        resets_in_s=resets_in_s,
    )


def settle_call(call: OpenCall, record: CallRecord, kept: Kept | None = None) -> dict[str, Any]:
    """What `chat_settle` takes for one call."""
    return {
        "id": call.id,
        "entry": uuid7(),
        "fence": call.fence,
        "member": call.user,
        "key": call.key,
        "model": call.model,
        "lane": call.lane,
        "today": call.today,
        "prompt_chars": call.prompt_chars,
        "outcome": record.outcome,
        "finish": (record.finish or "")[:FINISH_CHARS],
        "upstream": record.upstream or "",
        "attempts": record.attempts,
        "tokens_in": min(record.tokens_in, _MOST),
        "tokens_out": min(record.tokens_out, _MOST),
        "estimated": record.is_estimated,
        "first_byte_ms": record.first_byte_ms,
        "total_ms": record.total_ms,
        "prompt": clean(kept.prompt) if kept else None,
        "answer": clean(kept.answer) if kept else None,
    }


_MOST = 2**31 - 1  # what the column holds; an upstream may say anything


def clean(text: str) -> str:
    """A text as the database takes it: without NUL and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
