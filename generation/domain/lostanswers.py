"""Conversations that outlive somebody: answers that nobody writes, and words that are kept long enough.

The sweep ends answers whose process died and that nobody came back for. Conversations go with the days of their plan,
within the hour after their member's account, and a month after a member has left: nobody else could read them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from accounts.domain.sql import execute, fetch_all
from accounts.models.user import GONE
from generation.domain.searchtext import fold
from generation.enums import MessageStatus
from generation.errors import AnswerLost

log = logging.getLogger(__name__)

TOGETHER = 200

# Leases are renewed every second and last for twenty. Whoever looks takes an answer over; a minute later nobody has.
_LOST_SQL = """
SELECT tenant_id AS tenant, id, text, stop FROM generation_message
 WHERE status IN ('waiting', 'running')
   AND coalesce(lease_until, created_at + interval '2 minutes') < now() - interval '1 minute'
 ORDER BY tenant_id, id LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED
"""
_END_SQL = """
UPDATE generation_message
   SET status = %(status)s, folded = %(folded)s, finish = %(finish)s, code = %(code)s, detail = %(detail)s,
       fence = fence + 1, lease_until = NULL, ended_at = now()
 WHERE tenant_id = %(tenant)s AND id = %(id)s
"""
# Of a person who has left: kept for a month, because they may come back; of one whose account is gone not at all.
_OF_GONE = """
  NOT EXISTS (SELECT FROM accounts_membership m WHERE m.tenant_id = c.tenant_id AND m.user_id = c."user")
  AND (c.updated_at < now() - interval '30 days'
       OR NOT EXISTS (SELECT FROM accounts_user u WHERE u.id = c."user" AND u.email NOT LIKE %(gone)s))
"""
_EXPIRED_SQL = f"""
SELECT c.tenant_id AS tenant, c.id FROM generation_conversation c
  JOIN accounts_tenant t ON t.id = c.tenant_id JOIN accounts_plan p ON p.id = t.plan_id
 CROSS JOIN LATERAL (
   SELECT least(CASE WHEN jsonb_exists(t.limits, 'retention_days') THEN (t.limits->>'retention_days')::bigint
                     ELSE p.retention_days END, 36500)::int AS days) k
 WHERE c.updated_at < now() - make_interval(days => k.days) OR {_OF_GONE}
 LIMIT %(most)s FOR UPDATE OF c SKIP LOCKED
"""  # noqa: S608  (a text of this module)
_PERSONAL_SQL = """
SELECT tenant_id AS tenant, id FROM generation_conversation
 WHERE tenant_id = %(tenant)s AND "user" = ANY(%(users)s) LIMIT %(most)s FOR UPDATE
"""
_DELETE_SQL = (
    "DELETE FROM generation_message WHERE conversation_id = ANY(%(ids)s)",
    "DELETE FROM generation_conversation WHERE id = ANY(%(ids)s)",
)
_PRESETS_SQL = """DELETE FROM generation_chatpreset WHERE tenant_id = %(tenant)s AND "user" = ANY(%(users)s)"""
_PRESETS_OF_GONE_SQL = f"DELETE FROM generation_chatpreset c WHERE {_OF_GONE}"  # noqa: S608  (a text of this module)


def end_lost_answers() -> int:
    """End what nobody writes and nobody comes back for; returns how many. Under the worker's role."""
    with transaction.atomic():
        rows = fetch_all(_LOST_SQL, most=TOGETHER)
        for row in rows:
            wished = row["stop"]
            execute(
                _END_SQL,
                tenant=row["tenant"],
                id=row["id"],
                folded=fold(row["text"]),
                status=(MessageStatus.STOPPED if wished else MessageStatus.BROKEN).value,
                finish="stopped" if wished else "",
                code="" if wished else AnswerLost.code,
                detail="" if wished else AnswerLost().message,
            )
    if rows:
        log.warning("%d answers were lost with their process", len(rows))
    return len(rows)


def forget_conversations() -> int:
    """Delete what plans keep no longer, and what members who have left could read alone; returns how many.

    Under the worker's role, some at a time.
    """
    gone = f"%{GONE}"
    execute(_PRESETS_OF_GONE_SQL, gone=gone)
    return _delete_all(_EXPIRED_SQL, gone=gone)


def forget_words_of(*, tenant: UUID, users: Sequence[UUID]) -> int:
    """Delete these members' conversations and presets; returns how many. Runs in the tenant's scope."""
    execute(_PRESETS_SQL, tenant=tenant, users=list(users))
    return _delete_all(_PERSONAL_SQL, tenant=tenant, users=list(users))


def _delete_all(sql: str, **parameters: object) -> int:
    total = 0
    while True:
        with transaction.atomic():
            ids = [row["id"] for row in fetch_all(sql, most=TOGETHER, **parameters)]
            for statement in _DELETE_SQL if ids else ():
                execute(statement, ids=ids)
        total += len(ids)
        if len(ids) < TOGETHER:
            return total
