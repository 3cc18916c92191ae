"""The mail server: reached, trusted and signed in to, without sending anything."""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from qwenstudio.doctor.finding import TIMEOUT_S, Finding, Level

OUTBOX = "qwenstudio.outbox.Outbox"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def check_mail() -> Iterator[Finding]:
    """EHLO, then STARTTLS or TLS, then AUTH, as a mail would."""
    level: Level = "warn" if settings.PRODUCTION else "ok"
    backend = settings.EMAIL_BACKEND
    remedy = "set EMAIL_URL to a mail server" if settings.PRODUCTION else ""
    if backend == OUTBOX:
        yield _check_folder(Path(str(_setting("EMAIL_FILE_PATH"))), level=level, remedy=remedy)
    elif backend != SMTP:
        yield Finding(level, "e-mail", "mails are written into the log", remedy)
    else:
        yield _check_server()


def _check_folder(folder: Path, *, level: Level, remedy: str) -> Finding:
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        return Finding("fail", "e-mail", f"{folder} cannot be written", "give the studio's account this folder")
    return Finding(level, "e-mail", f"no mail server: mails are files in {folder}", remedy)


def _check_server() -> Finding:
    where = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        how = _sign_in()
    except smtplib.SMTPAuthenticationError as error:
        return Finding("fail", "e-mail", f"{where} refuses our name and password ({error.smtp_code})", "EMAIL_URL")
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
        remedy = "name the host that its certificate names, or let this machine trust its authority"
        return Finding("fail", "e-mail", f"{where}: its certificate is not believed ({reason})", remedy)
    except smtplib.SMTPNotSupportedError as error:
        remedy = "a port with STARTTLS (587) as smtp://, TLS from the start (465) as smtps://"
        return Finding("fail", "e-mail", f"{where}: {error}", remedy)
    except (OSError, smtplib.SMTPException) as error:
        reason = str(error) or type(error).__name__
        return Finding("fail", "e-mail", f"{where}: {reason}", "start it, or correct host and port in EMAIL_URL")
    return Finding("ok", "e-mail", f"{where} answers, {how}; nothing was sent")


def _sign_in() -> str:
    """How far it went, in words; raises what `smtplib` raises."""
    use_ssl, use_tls = bool(settings.EMAIL_USE_SSL), bool(settings.EMAIL_USE_TLS)
    context = ssl.create_default_context()
    place: dict[str, Any] = {"host": settings.EMAIL_HOST, "port": settings.EMAIL_PORT, "timeout": TIMEOUT_S}
    server = smtplib.SMTP_SSL(**place, context=context) if use_ssl else smtplib.SMTP(**place)
    with server:
        server.ehlo()
        if use_tls:
            server.starttls(context=context)
            server.ehlo()
        if settings.EMAIL_HOST_USER:
            server.login(settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD)
        words = ["TLS" if use_ssl else "STARTTLS" if use_tls else "not encrypted"]
        return ", ".join([*words, "signed in" if settings.EMAIL_HOST_USER else "without a name"])


def _setting(name: str) -> object:
    return getattr(settings, name)
