"""The browser's pass to the async door: a short-lived signed cookie, issued by the pages, read by the door.

The door holds no sessions. It verifies the signature and the age, then asks the database about membership like for
anybody else, so a pass grants nothing that its person has lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.core import signing

PASS_COOKIE = "studio_pass"  # noqa: S105  (a name)
PASS_SALT = "studio.pass"  # noqa: S105  (no secret)
PASS_SECONDS = 600
RENEW_AFTER_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Pass:
    """Who looks at which tenant."""

    user: UUID
    tenant: UUID


def issue_pass(*, user: UUID, tenant: UUID) -> str:
    """The cookie's value; good for `PASS_SECONDS`."""
    return signing.dumps({"user": str(user), "tenant": str(tenant)}, salt=PASS_SALT)


def read_pass(value: str, *, max_age_s: int = PASS_SECONDS) -> Pass | None:
    """The pass in a cookie, or `None` when it is forged, garbled or too old."""
    try:
        data = signing.loads(value, salt=PASS_SALT, max_age=max_age_s)
        return Pass(user=UUID(data["user"]), tenant=UUID(data["tenant"]))
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        return None
