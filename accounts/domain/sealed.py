"""What must be used again is encrypted with `STUDIO_ENCRYPTION_KEYS`: the newest encrypts, all of them decrypt."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class Unreadable(Exception):
    """Sealed with a key that is no longer among `STUDIO_ENCRYPTION_KEYS`, or changed since."""


def seal(value: object) -> str:
    """A JSON value as text that only this installation can read (Fernet: AES-128-CBC with HMAC-SHA256)."""
    return _box().encrypt(orjson.dumps(value)).decode("ascii")


def unseal(text: str) -> object:
    """What `seal` was given; raises `Unreadable`."""
    try:
        value: object = orjson.loads(_box().decrypt(text.encode("ascii")))
    except (InvalidToken, ValueError):
        raise Unreadable("sealed with a key that is not among STUDIO_ENCRYPTION_KEYS") from None
    return value


def reseal(text: str) -> str:
    """The same value under the newest key; `text` itself where that has sealed it. Raises `Unreadable`."""
    newest = _make_box(_keys()[:1])
    try:
        newest.decrypt(text.encode("ascii"))
    except (InvalidToken, ValueError):
        return seal(unseal(text))
    return text


def _box() -> MultiFernet:
    return _make_box(_keys())


def _keys() -> tuple[str, ...]:
    keys = tuple(settings.STUDIO_ENCRYPTION_KEYS)
    if not keys:
        raise ImproperlyConfigured("STUDIO_ENCRYPTION_KEYS is not set: one long random text or more, newest first")
    return keys


@lru_cache(maxsize=4)
def _make_box(keys: tuple[str, ...]) -> MultiFernet:
    # Any long random text is a key, so that `openssl rand -hex 32` makes one.
    return MultiFernet([Fernet(urlsafe_b64encode(sha256(key.encode()).digest())) for key in keys])
