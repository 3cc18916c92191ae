"""Sessions and one-time links that have ended leave their tables; the ticker calls this every hour."""

from __future__ import annotations

from django.db import transaction

from accounts.domain.sql import execute

# The list of sessions first: a session that is gone must not stand in it.
_LISTED_SQL = """
DELETE FROM usersessions_usersession u
 WHERE u.last_seen_at < now() - interval '1 day'
   AND NOT EXISTS (SELECT FROM django_session s WHERE s.session_key = u.session_key AND s.expire_date > now())
"""
_SESSIONS_SQL = "DELETE FROM django_session WHERE expire_date < now()"
# Whoever opens an old link reads for a month that it has ended; then that there is no such link.
_LINKS_SQL = "DELETE FROM accounts_tokendirectory WHERE expires_at < now() - interval '30 days'"


def forget_expired() -> int:
    """Delete what has ended, whoever's it was; returns how many rows. Runs under the worker's role."""
    with transaction.atomic():
        return sum(execute(sql) for sql in (_LISTED_SQL, _SESSIONS_SQL, _LINKS_SQL))
