"""An answer's row while the async door writes it: claimed under lease and fence, stored as it grows, ended once.

The statements run in the tenant's scope over the door's own connections. Whoever is told "no row" has lost the answer:
somebody else writes it, or its conversation was deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from generation.books.shown import COLUMNS
from generation.chat.request import ChatRequest, Message, Role, TextPart
from generation.enums import ANSWERING, MessageStatus

LEASE_S = 20
"""Renewed every second. Who has said nothing for so long has died, or has no database."""
MAX_ATTEMPTS = 3  # claims of an answer that shows no word yet
MAX_ANSWER_CHARS = 200_000
KEPT_TURNS = 400  # messages that are looked at for one request

_COLUMNS = ", ".join(f"m.{name}" for name in COLUMNS)
_LOST = "m.status = 'running' AND m.lease_until < now()"

# Parameters: tenant, user, conversation. Whether it is the member's, and its newest answer: a row of nulls where there
# is none yet, no row at all where the conversation is not theirs.
NEWEST_SQL = f"""
SELECT c.id AS conversation, {_COLUMNS}, m.fence, m.status = 'waiting' OR {_LOST} AS is_free
  FROM generation_conversation c
  LEFT JOIN LATERAL (
    SELECT * FROM generation_message
     WHERE tenant_id = c.tenant_id AND conversation_id = c.id AND role = 'assistant'
     ORDER BY place DESC LIMIT 1) m ON true
 WHERE c.tenant_id = %(tenant)s AND c.id = %(conversation)s AND c."user" = %(user)s
"""  # noqa: S608  (names of our own columns)

# Parameters: tenant, id. How an answer is that another process writes; being asked says that somebody watches.
WATCH_SQL = f"""
UPDATE generation_message m
   SET watched_at = CASE WHEN m.status = 'running' THEN now() ELSE m.watched_at END
 WHERE m.tenant_id = %(tenant)s AND m.id = %(id)s
RETURNING {_COLUMNS}, m.fence, m.status = 'waiting' OR {_LOST} AS is_free
"""  # noqa: S608  (as above)

# Parameters: tenant, id, lease_s.
CLAIM_SQL = f"""
UPDATE generation_message m
   SET status = 'running', fence = m.fence + 1, attempt = m.attempt + 1,
       lease_until = now() + %(lease_s)s * interval '1 second', watched_at = now()
  FROM generation_conversation c
 WHERE m.tenant_id = %(tenant)s AND m.id = %(id)s AND (m.status = 'waiting' OR {_LOST})
   AND c.tenant_id = m.tenant_id AND c.id = m.conversation_id
RETURNING m.id, m.conversation_id, m.fence, m.attempt, m.stop, m.text, m.reasoning, m.place, m.model, c.system
"""  # noqa: S608  (as above)

# Parameters: tenant, id, fence, lease_s, text, reasoning (null: as they are). What has come so far, and for how long
# nobody in another process has looked.
STORE_SQL = """
UPDATE generation_message m
   SET text = coalesce(%(text)s, m.text), reasoning = coalesce(%(reasoning)s, m.reasoning),
       lease_until = now() + %(lease_s)s * interval '1 second'
 WHERE m.tenant_id = %(tenant)s AND m.id = %(id)s AND m.fence = %(fence)s AND m.status = 'running'
RETURNING m.stop, extract(epoch FROM now() - m.watched_at)::float8 AS unwatched_s
"""

# Parameters: tenant, id, fence, and the columns that an end writes. The conversation's own row is not touched: whoever
# changes a conversation locks that first.
END_SQL = f"""
UPDATE generation_message m
   SET status = %(status)s, text = %(text)s, reasoning = %(reasoning)s, folded = %(folded)s, finish = %(finish)s,
       code = %(code)s, detail = %(detail)s, left_out = %(left_out)s, tokens_in = %(tokens_in)s,
       tokens_out = %(tokens_out)s, total_ms = %(total_ms)s, lease_until = NULL, ended_at = now()
 WHERE m.tenant_id = %(tenant)s AND m.id = %(id)s AND m.fence = %(fence)s AND m.status = 'running'
RETURNING {_COLUMNS}
"""  # noqa: S608  (as above)

# Parameters: tenant, conversation, place, chars, most. What was said before a place, the newest that together have at
# most so many characters, in their order; `total` counts all of it.
SAID_SQL = """
SELECT role, text, total FROM (
  SELECT place, role, text, sum(length(text)) OVER (ORDER BY place DESC) AS chars, count(*) OVER () AS total,
         row_number() OVER (ORDER BY place DESC) AS n
    FROM generation_message
   WHERE tenant_id = %(tenant)s AND conversation_id = %(conversation)s AND place < %(place)s AND text <> '') AS said
 WHERE chars <= %(chars)s AND n <= %(most)s
 ORDER BY place
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An answer that is ours to write. `text` and `reasoning` are what a process that died has left of it."""

    id: UUID
    tenant: UUID
    conversation: UUID
    fence: int
    attempt: int
    place: int
    model: str
    system: str = ""
    stop: bool = False
    text: str = ""
    reasoning: str = ""

    @property
    def may_begin(self) -> bool:
        """Whether it is written from its first word on: what somebody may have seen already is not said anew."""
        return not self.stop and not self.text and not self.reasoning and self.attempt <= MAX_ATTEMPTS


@dataclass(slots=True, kw_only=True)
class Ending:
    """How an answer ends; the columns of its row."""

    status: MessageStatus
    finish: str = ""
    code: str = ""
    detail: str = ""
    left_out: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    total_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What goes to the model, oldest first, and how many messages were left out because they do not fit."""

    messages: tuple[Message, ...] = ()
    left_out: int = 0
    chars: int = field(default=0)


def read_claimed(row: Mapping[str, Any], *, tenant: UUID) -> Claimed:
    """A row of `CLAIM_SQL`."""
    return Claimed(
        id=row["id"],
        tenant=tenant,
        conversation=row["conversation_id"],
        fence=row["fence"],
        attempt=row["attempt"],
        place=row["place"],
        model=row["model"],
        system=row["system"],
        stop=row["stop"],
        text=row["text"],
        reasoning=row["reasoning"],
    )


def is_under_way(row: Mapping[str, Any]) -> bool:
    """Whether more may come of an answer."""
    return row["status"] in ANSWERING


def read_said(rows: Sequence[Mapping[str, Any]], *, system: str) -> Said:
    """The rows of `SAID_SQL`. A model is asked by somebody: what stands before their first words is left out too."""
    first = next((place for place, row in enumerate(rows) if row["role"] == "user"), len(rows))
    kept = rows[first:]
    told = [("system", system)] if system else []
    told += [(row["role"], row["text"]) for row in kept]
    return Said(
        messages=tuple(_message(role, text) for role, text in told),
        left_out=(rows[0]["total"] if rows else 0) - len(kept),
        chars=sum(len(text) for _, text in told),
    )


def request_of(claimed: Claimed, said: Said) -> ChatRequest:
    """The request behind an answer: what was said, and nothing else."""
    return ChatRequest(
        model=claimed.model, messages=said.messages, prompt_chars=said.chars, stream=True, include_usage=True
    )


def _message(role: Role | str, text: str) -> Message:
    return Message(role=role, parts=(TextPart(text),))  # type: ignore[arg-type]
