"""What only the servers themselves can say: who signs in, and whether they let anybody in. Each answers in seconds."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from qwenstudio.checks import find_fault

TIMEOUT_S = 3


def role_fault(url: str, *, web: bool) -> str:
    """Why the URL's role must not serve tenants; empty where it may, or where nobody answers (which harms nobody)."""
    try:
        with closing(_connect(url)) as database:
            return find_fault(database, web=web)
    except psycopg.Error:
        return ""


def lets_in_without_password(url: str) -> bool:
    """Whether the database believes the user's name alone (`trust`) from here."""
    try:
        # A file that is not there: neither ~/.pgpass nor PGPASSFILE may answer for us.
        _connect(url, password="", passfile="/nonexistent/pgpass").close()
    except psycopg.Error:
        return False
    return True


def _connect(url: str, **over: Any) -> psycopg.Connection[Any]:
    options = f"-c statement_timeout={TIMEOUT_S * 1000}"
    return psycopg.connect(url, connect_timeout=TIMEOUT_S, options=options, **over)


def redis_is_open(url: str) -> bool:
    """Whether the server of this URL answers who shows no password."""
    parts = urlsplit(url)
    secure = parts.scheme == "rediss"
    client = redis.Redis(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        ssl=secure,
        ssl_cert_reqs="none" if secure else "required",  # nothing is told to it
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
