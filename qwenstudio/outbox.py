"""An outbox for installations without a mail server: each mail is a file that its operator can open."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from accounts.ids import uuid7

log = logging.getLogger(__name__)


class Outbox(BaseEmailBackend):
    """Writes `<id>.eml` into `EMAIL_FILE_PATH` (0700), whole or not at all, and names the file in the log."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        folder = Path(str(settings.EMAIL_FILE_PATH))  # type: ignore[misc]  # one of the settings of qwenstudio/mail.py
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for message in email_messages:
            path = folder / f"{uuid7()}.eml"
            # mkstemp makes the file with mode 0600: one-time links are in it.
            handle, name = tempfile.mkstemp(dir=folder, prefix=".mail-")
            with os.fdopen(handle, "wb") as file:
                file.write(message.message().as_bytes())
            Path(name).replace(path)
            log.info("no mail server is set (EMAIL_URL): the e-mail is in %s", path)
        return len(email_messages)
