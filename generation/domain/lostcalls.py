"""Chat calls that nobody settles: their process died. The sweep closes them; and what is old is forgotten.

Like everything that failed by our fault they are given back in full. A process that was only slow finds its call
closed, and changes nothing (`chat_settle`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction

from accounts.domain.sql import execute, fetch_all
from accounts.ids import uuid7
from generation.enums import CallOutcome

log = logging.getLogger(__name__)

TOGETHER = 500
KEPT = timedelta(days=90)
"""How long a call's row stays. What it has cost stands in the ledger for ever."""

# The lease is a minute; whoever is swept has said nothing for so long.
_LOST_SQL = """
SELECT tenant_id AS tenant, id, fence, "user", key, model, lane, charged_on, prompt_chars FROM generation_chatcall
 WHERE outcome = 'running' AND lease_until < now()
 ORDER BY tenant_id, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
"""
_SETTLE_SQL = "SELECT * FROM chat_settle(%(asked)s::jsonb)"
_FORGET_SQL = """
DELETE FROM generation_chatcall WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM generation_chatcall WHERE id < %(before)s AND outcome <> 'running' ORDER BY id LIMIT %(most)s))
"""
# A tenant's words are kept no longer than its pictures: by its own number of days, or its plan's.
_BLANK_SQL = """
UPDATE generation_chatcall c SET prompt = NULL, answer = NULL
  FROM accounts_tenant t JOIN accounts_plan p ON p.id = t.plan_id
 CROSS JOIN LATERAL (
   SELECT least(CASE WHEN jsonb_exists(t.limits, 'retention_days') THEN (t.limits->>'retention_days')::bigint
                     ELSE p.retention_days END, 36500)::int AS days) k
 WHERE c.tenant_id = t.id AND c.prompt IS NOT NULL AND c.created_at < now() - make_interval(days => k.days)
"""
_FORGET_WORDS_SQL = """
UPDATE generation_chatcall SET prompt = NULL, answer = NULL
 WHERE tenant_id = %(tenant)s AND "user" = ANY(%(users)s) AND prompt IS NOT NULL
"""


def settle_lost_calls() -> int:
    """Close what has lost its lease; returns how many. Under the worker's role."""
    total = 0
    while True:
        with transaction.atomic():
            rows = fetch_all(_LOST_SQL, most=TOGETHER)
            for tenant, calls in groupby(rows, key=lambda row: row["tenant"]):
                asked = {"tenant": tenant, "calls": [_lost(row) for row in calls]}
                fetch_all(_SETTLE_SQL, asked=orjson.dumps(asked).decode())
        total += len(rows)
        if len(rows) < TOGETHER:
            break
    if total:
        log.warning("%d chat calls were lost with their process, and are given back", total)
    return total


def _lost(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "entry": uuid7(),
        "fence": row["fence"],
        "member": row["user"],
        "key": row["key"],
        "model": row["model"],
        "lane": row["lane"],
        "today": row["charged_on"],
        "prompt_chars": row["prompt_chars"],
        "outcome": CallOutcome.LOST.value,
        "finish": "",
        "upstream": "",
        "attempts": 0,
        "tokens_in": 0,
        "tokens_out": 0,
        "estimated": False,
    }


def forget_calls() -> int:
    """Delete calls that are older than `KEPT`, and words that are older than their tenant's plan keeps them.

    Returns how many calls. Under the worker's role, some at a time.
    """
    with transaction.atomic():
        execute(_BLANK_SQL)
    before, total = _first_id(time.time() - KEPT.total_seconds()), 0
    while True:
        with transaction.atomic():
            deleted = execute(_FORGET_SQL, before=before, most=10_000)
        total += deleted
        if deleted < 10_000:
            return total


def forget_words(*, tenant: UUID, users: Sequence[UUID]) -> int:
    """Forget what these members have asked and were told. Runs in the tenant's scope."""
    return execute(_FORGET_WORDS_SQL, tenant=tenant, users=list(users))


def _first_id(moment: float) -> UUID:
    """The smallest id of a moment: ids sort by time."""
    return UUID(int=int(moment * 1000) << 80)
