"""E-mails that wait to be sent, as their readers will see them."""

from __future__ import annotations

import re
from typing import Any

from accounts.domain.mail import render_mail
from accounts.domain.sealed import unseal
from accounts.enums import ErrandKind
from accounts.models import Errand
from accounts.tenancy import across_tenants


def waiting_mails(name: str = "") -> list[dict[str, Any]]:
    """`{name, to, language, context, subject, body}` of each, the oldest first; of one template only where named."""
    with across_tenants():
        rows = list(Errand.objects.filter(kind=ErrandKind.SEND_MAIL).order_by("created_at", "id"))
    found: list[Any] = [unseal(row.data["sealed"]) for row in rows]
    for mail in found:
        mail["subject"], mail["body"] = render_mail(mail["name"], language=mail["language"], context=mail["context"])
    return [mail for mail in found if name in ("", mail["name"])]


def invitation_token(address: str) -> str:
    """The token in the newest invitation to an address."""
    mail = [mail for mail in waiting_mails("invitation") if mail["to"] == address][-1]
    found = re.search(r"/join/([\w-]+)/", mail["body"])
    assert found is not None
    return found[1]
