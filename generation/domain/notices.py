"""What everybody should know who waits: that staff have paused a pool, that no worker is there to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEEN_WITHIN_S = 90  # a worker reports itself more often than that

# Parameter: lane. Global tables only, so it runs without a tenant; the page and the event streams ask the same.
NOTICES_SQL = f"""
SELECT ARRAY(SELECT p.paused_reason FROM generation_pool p
              WHERE p.lane = %(lane)s AND p.paused_at IS NOT NULL ORDER BY p.name)::text[] AS paused,
       EXISTS (SELECT FROM generation_worker w
                WHERE w.lane = %(lane)s AND w.state IN ('loading', 'idle', 'busy') AND w.drain_requested_at IS NULL
                  AND w.seen_at > now() - interval '{SEEN_WITHIN_S} seconds') AS drawn
"""  # noqa: S608  (a number of this module)


@dataclass(frozen=True, slots=True)
class Notices:
    """`paused`: the reason of each pool that staff have paused; `drawn`: whether anybody draws at all."""

    paused: tuple[str, ...]
    drawn: bool


def read_notices(row: Mapping[str, Any]) -> Notices:
    """A row of `NOTICES_SQL`."""
    return Notices(paused=tuple(row["paused"]), drawn=bool(row["drawn"]))
