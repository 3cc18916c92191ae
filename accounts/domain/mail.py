"""E-mails. Each is an errand of its own, so none is lost with a process, a mail server or Redis.

A mail is a template, `mail/<name>.txt`, whose first line is the subject; it is rendered when it is sent, in the
language of the person who reads it. What it holds (addresses, one-time links) lies encrypted in the errand until then.
Links come from `STUDIO_URL`, never from a request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import translation

from accounts.domain.errands import ClaimedErrand, add_errand, errand
from accounts.domain.sealed import seal, unseal
from accounts.enums import ErrandKind

log = logging.getLogger(__name__)


def queue_mail(
    name: str, *, to: str, language: str = "", context: Mapping[str, Any] | None = None, tenant: UUID | None = None
) -> UUID:
    """Send `mail/<name>.txt` after the commit of the current transaction; returns the errand's id.

    `context` holds JSON values. `language` empty: the studio's own.
    """
    mail = {"name": name, "to": to, "language": language or settings.LANGUAGE_CODE, "context": dict(context or {})}
    return add_errand(kind=ErrandKind.SEND_MAIL, tenant=tenant, data={"name": name, "sealed": seal(mail)})


def render_mail(name: str, *, language: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text."""
    with translation.override(language):
        text = render_to_string(f"mail/{name}.txt", {"studio_url": settings.STUDIO_URL, **context})
    subject, _, body = text.strip().partition("\n")
    return " ".join(subject.split()), body.strip() + "\n"


@errand(ErrandKind.SEND_MAIL)
def send_mail(claimed: ClaimedErrand) -> None:
    """Hand one mail to the mail server; twice when a worker is killed just then, and never not at all."""
    mail: Any = unseal(claimed.data["sealed"])
    subject, body = render_mail(mail["name"], language=mail["language"], context=mail["context"])
    message = EmailMessage(
        subject,
        body,
        settings.DEFAULT_FROM_EMAIL,
        [mail["to"]],
        # The same one for every try: mail servers and readers fold the second copy into the first.
        headers={"Message-ID": f"<{claimed.id}@{settings.EMAIL_DOMAIN}>", "Auto-Submitted": "auto-generated"},
    )
    message.send()
    log.info("e-mail sent", extra={"mail": mail["name"]})
