"""Where a person is signed in: browsers with address and time, and how a session ends.

Django's session row is the truth; allauth's `UserSession` beside it says whose it is and from where. A stamp ties the
browser's pass to the async door (`accounts/domain/passes.py`) to its session and to the password it was made under, so
the pass is worth nothing as soon as either is gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.domain.audit import current_actor, record
from accounts.domain.sql import execute
from accounts.errors import NotFound

STAMP_CHARS = 32
UNKNOWN_ADDRESS = "::"  # a Unix socket has none, and the column takes nothing else
AGENT_CHARS = 200

# One statement per page, and no more than one write a minute. The condition under ON CONFLICT alone would not do: the
# row is locked, and a number of the sequence used, before it is looked at, so that each page would wait for the disk.
_NOTE_SQL = """
INSERT INTO usersessions_usersession (user_id, session_key, ip, user_agent, data, created_at, last_seen_at)
SELECT %(user)s, %(session)s, %(address)s, %(agent)s, '{}', now(), now()
 WHERE NOT EXISTS (SELECT 1 FROM usersessions_usersession
                    WHERE session_key = %(session)s AND last_seen_at >= now() - interval '1 minute')
ON CONFLICT (session_key) DO UPDATE
   SET last_seen_at = now(), ip = excluded.ip, user_agent = excluded.user_agent, user_id = excluded.user_id
 WHERE usersessions_usersession.last_seen_at < now() - interval '1 minute'
"""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One browser in which a person is signed in."""

    id: int
    browser: str
    address: str
    since: datetime
    seen_at: datetime
    is_here: bool


def stamp_of(session_key: str, password: str) -> str:
    """What a pass holds of its session: a digest that `accounts.domain.callers.SESSION_CALLER_SQL` makes again."""
    return sha256(f"{session_key}:{password}".encode()).hexdigest()[:STAMP_CHARS]


def note_session(*, user: UUID, session_key: str, address: str | None, agent: str) -> None:
    """Remember that a session was used just now, and from where."""
    execute(
        _NOTE_SQL,
        user=user,
        session=session_key,
        address=address or UNKNOWN_ADDRESS,
        agent=agent.replace("\x00", "")[:AGENT_CHARS],
    )


def list_sessions(*, user: UUID, session_key: str | None) -> list[SignedIn]:
    """Where the person is signed in, the present browser first, then the last seen."""
    alive = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    found = [
        SignedIn(
            id=row.pk,
            browser=describe_browser(row.user_agent),
            address="" if row.ip == UNKNOWN_ADDRESS else row.ip,
            since=row.created_at,
            seen_at=row.last_seen_at,
            is_here=row.session_key == session_key,
        )
        for row in UserSession.objects.filter(user_id=user, session_key__in=alive).order_by("-last_seen_at", "-pk")
    ]
    return sorted(found, key=lambda row: not row.is_here)


def end_session(*, user: UUID, id: int) -> str:
    """End one of the person's sessions; returns its key. Raises `NotFound`."""
    with transaction.atomic():
        row = UserSession.objects.select_for_update().filter(user_id=user, pk=id).first()
        if row is None:
            raise NotFound("no such session")
        key: str = row.session_key
        _delete([key])
        record("session.ended", target=f"user:{user}", detail={"session": id}, personal=True)
    return key


def end_other_sessions(*, user: UUID, session_key: str | None) -> int:
    """End all of the person's sessions but one; returns how many there were."""
    with transaction.atomic():
        ended = end_sessions(user, but=session_key)
        if ended:
            record("session.ended", target=f"user:{user}", detail={"others": ended}, personal=True)
    return ended


def end_sessions(user: UUID, *, but: str | None = None) -> int:
    """Delete a person's sessions, without a word; returns how many were alive."""
    with transaction.atomic():
        keys = list(
            UserSession.objects.filter(user_id=user).exclude(session_key=but).values_list("session_key", flat=True)
        )
        return _delete(keys)


def forget_session(session_key: str | None) -> None:
    """A session that is being signed out of this moment leaves the list."""
    UserSession.objects.filter(session_key=session_key).delete()


def present_session(user: UUID) -> str | None:
    """The session of the request under way, if it is this person's."""
    actor = current_actor()
    return actor.session if actor.user == user else None


def describe_browser(agent: str) -> str:
    """`Firefox on Windows`, as far as a browser's own words tell; empty when they do not."""
    browser = next((name for name, pattern in _BROWSERS if re.search(pattern, agent)), "")
    system = next((name for name, pattern in _SYSTEMS if re.search(pattern, agent)), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system


# The first that fits: browsers name those that they want to be taken for.
_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/"),
    ("Opera", r"\bOPR/"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/"),
    ("Chrome", r"(?:Chrome|CriOS|Chromium)/"),  # a headless one calls itself HeadlessChrome
    ("Safari", r"\bSafari/"),
)
_SYSTEMS = (
    ("iOS", r"\b(?:iPhone|iPad|iPod)\b"),
    ("Android", r"\bAndroid\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMac OS X\b|\bMacintosh\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Linux", r"\bLinux\b"),
)


def _delete(keys: list[str]) -> int:
    UserSession.objects.filter(session_key__in=keys).delete()
    return Session.objects.filter(session_key__in=keys).delete()[0]
