"""What the guard looks at, gathered once: tests plant a fault by replacing one field."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from django.conf import settings

from qwenstudio.settings import SECRET_KEY, database_urls

SECRETS = (
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "STUDIO_ENCRYPTION_KEYS",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "DATABASE_WORKER_URL",
    "REDIS_URL",
    "EMAIL_URL",
)
"""The variables that may also be named `NAME_FILE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The settings that decide whether a studio is safe to show to others."""

    debug: bool
    url: str
    origins: Sequence[str]
    hosts: Sequence[str]
    proxies: Sequence[IPv4Network | IPv6Network]
    secret_key: str
    secret_fallbacks: Sequence[str]
    encryption_keys: Sequence[str]
    database_urls: Mapping[str, str]
    """By role; empty ones were not named."""
    redis_url: str
    media: Path
    secret_files: Sequence[Path]
    downloads: bool
    mail_backend: str


def gather() -> Facts:
    """The facts of this process."""
    return Facts(
        debug=settings.DEBUG,
        url=settings.STUDIO_URL,
        origins=settings.CSRF_TRUSTED_ORIGINS,
        hosts=settings.ALLOWED_HOSTS,
        proxies=settings.STUDIO_TRUSTED_PROXIES,
        secret_key=SECRET_KEY,  # Django's own settings raise where it is empty
        secret_fallbacks=settings.SECRET_KEY_FALLBACKS,
        encryption_keys=settings.STUDIO_ENCRYPTION_KEYS,
        database_urls=database_urls,
        redis_url=settings.REDIS_URL,
        media=settings.STUDIO_MEDIA,
        secret_files=find_secret_files(os.environ, var=settings.STUDIO_VAR),
        downloads=not settings.HF_HUB_OFFLINE,
        mail_backend=settings.EMAIL_BACKEND,
    )


def find_secret_files(environment: Mapping[str, str], *, var: Path) -> list[Path]:
    """Files with secrets in them: those that variables name, their neighbours of an installation, and our own."""
    named = [Path(environment[f"{name}_FILE"]) for name in SECRETS if environment.get(f"{name}_FILE")]
    folder = Path(environment.get("STUDIO_ROOT") or "/") / "etc" / "qwenstudio" / "secrets"
    try:
        installed = sorted(folder.iterdir())
    except OSError:  # there is none, or this account may not look into it: then others may not either
        installed = []
    own = [var / "secrets.json", var / "demo.env", var / "mail"]
    return [path for path in dict.fromkeys([*named, *installed, *own]) if _exists(path)]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder on the way is closed to this account
        return False
