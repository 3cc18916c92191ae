"""The password of Redis or Valkey: for a while both are good, so nobody is sent away."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.exceptions import AuthenticationError, RedisError

from qwenstudio.rotation.errors import RotationError
from qwenstudio.rotation.files import rewrite

TIMEOUT_S = 5.0


def _talk(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)


def _user(url: str) -> str:
    return urlsplit(url).username or "default"


def signs_in(url: str) -> bool:
    """Whether the server takes it. Raises `RotationError` where it does not answer at all."""
    try:
        with _talk(url) as client:
            return bool(client.ping())
    except AuthenticationError:
        return False
    except RedisError as error:
        raise RotationError(f"Redis does not answer: {error}") from None


def add_password(old: str, new: str) -> None:
    """From now on the server takes both."""
    _set_user(old, _user(old), f">{urlsplit(new).password}")


def keep_only(new: str) -> None:
    """From now on the server takes this one alone."""
    _set_user(new, _user(new), "resetpass", f">{urlsplit(new).password}")


def _set_user(url: str, *words: str) -> None:
    try:
        with _talk(url) as client:
            client.execute_command("ACL", "SETUSER", *words)
    except RedisError as error:
        raise RotationError(f"Redis refuses another password (ACL SETUSER): {error}") from None


def write_configuration(path: Path, new: str) -> bool:
    """Let our own server's configuration say it too; False where the server is somebody else's."""
    if not path.is_file():
        return False
    lines = path.read_text(encoding="utf-8").splitlines()
    password = urlsplit(new).password
    lines = [f"requirepass {password}" if line.startswith("requirepass ") else line for line in lines]
    rewrite(path, "\n".join(lines) + "\n", like=path)
    return True
