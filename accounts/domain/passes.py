"""The browser's pass to the async door: a short-lived signed cookie, issued by the pages, read by the door.

The door holds no sessions. It verifies the signature and the age, then asks the database whether the session is alive,
its password still the person's, and the membership there, so a pass grants nothing that its person has lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

from django.core import signing

PASS_COOKIE = "studio_pass"  # noqa: S105  (a name)
PASS_SALT = "studio.pass"  # noqa: S105  (no secret)
PASS_SECONDS = 600
RENEW_AFTER_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Pass:
    """Who looks at which tenant, in which session (its stamp, `accounts.domain.sessions.stamp_of`)."""

    user: UUID
    tenant: UUID
    session: str
    expires_at: float = field(default=0.0, compare=False)  # Unix time


def issue_pass(*, user: UUID, tenant: UUID, session: str) -> str:
    """The cookie's value; good for `PASS_SECONDS`, and no longer than the session."""
    data = {"user": str(user), "tenant": str(tenant), "session": session, "at": int(time.time())}
    return signing.dumps(data, salt=PASS_SALT)


def read_pass(value: str, *, max_age_s: int = PASS_SECONDS) -> Pass | None:
    """The pass in a cookie, or `None` when it is forged, garbled or too old."""
    try:
        data = signing.loads(value, salt=PASS_SALT, max_age=max_age_s)
        expires_at = float(data["at"] + PASS_SECONDS)
        user, tenant, session = UUID(data["user"]), UUID(data["tenant"]), str(data["session"])
        return Pass(user=user, tenant=tenant, session=session, expires_at=expires_at)
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        return None
