"""A generation as PostgreSQL knows it, in the very JSON of the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from generation.enums import FINAL

# The states of generations that somebody watches, and of the work that some members have under way.
STATES_SQL = """
SELECT id, "user", status, step, done FROM generation_generation
 WHERE id = ANY(%(generations)s)
UNION
SELECT id, "user", status, step, done FROM generation_generation
 WHERE "user" = ANY(%(users)s) AND status IN ('queued', 'running')
"""
# A member's work for a stream of all of it: what is under way, and what ended after a moment, a day back at most. Where
# there is more, what is under way goes before what has ended, and the newest first; they are told in their order.
WORK_SQL = """
SELECT id FROM (
    SELECT id, created_at FROM generation_generation
     WHERE "user" = %(user)s
       AND (status IN ('queued', 'running')
            OR finished_at > greatest(to_timestamp(%(ended_after_ms)s::bigint / 1000.0), now() - interval '1 day')
            AND %(ended_after_ms)s::bigint IS NOT NULL)
     ORDER BY status IN ('queued', 'running') DESC, created_at DESC, id DESC
     LIMIT %(limit)s) AS work
 ORDER BY created_at, id
"""
WORK_LIMIT = 200


@dataclass(frozen=True, slots=True)
class State:
    """What changes while a generation is worked on."""

    user: UUID | None
    status: str
    step: int
    done: int

    @property
    def is_active(self) -> bool:
        """Whether anything can still happen to it."""
        return self.status not in FINAL


@dataclass(frozen=True, slots=True)
class Truth:
    """One generation: its state, and its JSON."""

    id: UUID
    state: State
    body: dict[str, Any]


def state_of(row: Mapping[str, Any]) -> State:
    """The state in a row of `generation_generation`."""
    return State(user=row["user"], status=row["status"], step=row["step"], done=row["done"])
