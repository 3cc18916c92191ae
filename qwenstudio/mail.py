"""`EMAIL_URL` as Django's settings, and the outbox of an installation without a mail server."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from qwenstudio.env import EnvError

FORM = "smtp://user:password@host:587 (STARTTLS), smtps://…:465, smtp+plain://localhost:25, folder:///path or console:"
_TIMEOUT_S = 20
_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


def email_settings(url: str, *, outbox: Path) -> dict[str, Any]:
    """Django's `EMAIL_…` settings. Without a URL mails are files in `outbox`. Raises `EnvError`."""
    if not url:
        return {"EMAIL_BACKEND": "qwenstudio.outbox.Outbox", "EMAIL_FILE_PATH": str(outbox)}
    if url == "console:":
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    parts = urlsplit(url)
    if parts.scheme == "folder" and parts.path.startswith("/") and not parts.netloc:
        return {"EMAIL_BACKEND": "qwenstudio.outbox.Outbox", "EMAIL_FILE_PATH": parts.path}
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise EnvError("EMAIL_URL has a port that is no number") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise EnvError(f"EMAIL_URL must look like {FORM}")  # without its value: it may hold a password
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": _TIMEOUT_S,
    }
