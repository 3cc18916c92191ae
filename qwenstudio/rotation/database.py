"""A database role's password: each role may change its own, so nobody needs the server's administrator."""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from qwenstudio.rotation.errors import RotationError

CONNECT_S = 5


def with_password(url: str, password: str) -> str:
    """The same URL with another password. Raises `RotationError` for one without any."""
    parts = urlsplit(url)
    if not parts.password or (parts.hostname is None and "@" not in parts.netloc):
        raise RotationError("its URL has no password in it: there is none to change")
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{password}@{host}"))


def make_password() -> str:
    """192 bits, in letters that no URL and no configuration file has to quote."""
    return secrets.token_hex(24)


def signs_in(url: str) -> bool:
    """Whether the server takes it. Raises `RotationError` where it does not answer at all."""
    try:
        psycopg.connect(url, connect_timeout=CONNECT_S).close()
    except psycopg.OperationalError as error:
        text = str(error)
        if "password authentication failed" in text:
            return False
        raise RotationError(f"the database does not let us in: {hide(text, url)}") from None
    return True


def change_password(old: str, new: str) -> None:
    """Let the role of `old` give itself the password of `new`; only a SCRAM hash goes over the wire and into logs."""
    user, password = urlsplit(new).username or "", urlsplit(new).password or ""
    with psycopg.connect(old, connect_timeout=CONNECT_S, autocommit=True) as connection:
        hashed = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(hashed)))


def hide(text: str, url: str) -> str:
    """An error's first line without the password."""
    password = urlsplit(url).password
    line = text.strip().splitlines()[0]
    return re.sub(re.escape(password), "…", line) if password else line
