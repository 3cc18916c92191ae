"""What has changed since the last look, and who hears of it: `manage.py doctor --mail`.

The last look's bad lines lie in `$STUDIO_VAR/doctor.json`. Staff get one e-mail when a line turns bad (or worse), and
one when it is well again; a line that stays as it was is not told twice. E-mails are errands; while the database is
away, which keeps the errands, they go to the mail server at once, to the staff who were there at the last look.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction

from accounts.domain.mail import queue_mail, render_mail
from accounts.models import User
from qwenstudio.doctor.finding import SEVERITY, Finding, Level
from qwenstudio.embedded.files import make_private_folder, read_json, write_json

log = logging.getLogger(__name__)

FILE = "doctor.json"
NAMES_SHOWN = 3  # in a subject
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Bad:
    """A line of the last look that was not well, and the check that wrote it."""

    level: Level
    check: str


@dataclass(frozen=True, slots=True)
class State:
    """What the last look left: bad lines by name, and staff with their languages."""

    bad: Mapping[str, Bad] = field(default_factory=dict)
    staff: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """Lines that turned bad or worse, names that are well again, and what is bad from now on."""

    worse: Sequence[Finding]
    better: Sequence[str]
    bad: Mapping[str, Bad]

    def __bool__(self) -> bool:
        return bool(self.worse or self.better)


def compare(before: Mapping[str, Bad], findings: Sequence[Finding]) -> Change:
    """The difference between two looks.

    A line that is not there any more is well again only where its check wrote others and came to its end: a check that
    could not look has seen nothing.
    """
    now: dict[str, Finding] = {}
    for finding in findings:
        known = now.get(finding.name)
        if known is None or SEVERITY[finding.level] < SEVERITY[known.level]:
            now[finding.name] = finding
    # A check that did not end, or broke, says so in a line of its own name.
    blind = {finding.check for finding in findings if finding.level == "fail" and finding.name == finding.check}
    looked = {finding.check for finding in findings} - blind
    bad = {name: Bad(found.level, found.check) for name, found in now.items() if found.level != "ok"}
    kept = {name: old for name, old in before.items() if name not in now and old.check not in looked}
    worse = [
        now[name]
        for name, new in bad.items()
        if name not in before or SEVERITY[new.level] < SEVERITY[before[name].level]
    ]
    better = [name for name in before if name not in bad and name not in kept]
    return Change(worse=worse, better=better, bad={**bad, **kept})


def tell(findings: Sequence[Finding], *, var: Path) -> bool:
    """Mail what has changed, then remember it; False where nobody could be told, so that the next run tries again."""
    state = read_state(var)
    change = compare(state.bad, findings)
    staff = dict(state.staff)
    if not _is_away(findings):
        staff = _within(_read_staff, PATIENCE_S) or staff
    if change:
        mail = _context(change)
        if not (_queue(staff, mail, away=_is_away(findings)) or _send(staff, mail)):
            log.error("nobody could be told of what has changed (%d lines)", len(change.worse) + len(change.better))
            return False
    write_state(var, State(bad=change.bad, staff=staff))
    return True


def read_state(var: Path) -> State:
    """The last look's; empty before the first one, and where the file is not ours to understand."""
    try:
        found = read_json(var / FILE)
        bad = {str(name): Bad(value["level"], str(value["check"])) for name, value in found.get("bad", {}).items()}
        staff = {str(address): str(language) for address, language in found.get("staff", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State()
    return State(bad={name: old for name, old in bad.items() if old.level in SEVERITY}, staff=staff)


def write_state(var: Path, state: State) -> None:
    """Whole or not at all, 0600: it holds addresses."""
    bad = {name: {"level": old.level, "check": old.check} for name, old in state.bad.items()}
    write_json(make_private_folder(var) / FILE, {"bad": bad, "staff": dict(state.staff)})


def _is_away(findings: Sequence[Finding]) -> bool:
    """Whether the database did not answer the pages' role."""
    return any(
        finding.level == "fail" and finding.name in ("database", "database, web", "migrations") for finding in findings
    )


def _context(change: Change) -> dict[str, Any]:
    names = [finding.name for finding in change.worse] or list(change.better)
    more = "…" if len(names) > NAMES_SHOWN else ""
    told = {finding.name for finding in change.worse}
    return {
        "machine": socket.gethostname(),
        "names": ", ".join(names[:NAMES_SHOWN]) + more,
        "worse": [{"name": found.name, "text": found.text, "remedy": found.remedy} for found in change.worse],
        "better": list(change.better),
        "others": [name for name in change.bad if name not in told],
    }


def _read_staff() -> dict[str, str]:
    people = User.objects.filter(is_staff=True, is_active=True).order_by("email")
    return {person.email: person.language for person in people}


def _queue(staff: Mapping[str, str], mail: Mapping[str, Any], *, away: bool) -> bool:
    """One errand for each of the staff, all or none."""
    if away or not staff:
        return False

    def add() -> bool:
        with transaction.atomic():
            for address, language in staff.items():
                queue_mail("doctor", to=address, language=language, context=mail)
        return True

    return bool(_within(add, PATIENCE_S))


def _send(staff: Mapping[str, str], mail: Mapping[str, Any]) -> bool:
    """By the mail server at once; whether at least one of the staff was reached."""
    reached = 0
    for address, language in staff.items():
        subject, body = render_mail("doctor", language=language or settings.LANGUAGE_CODE, context=mail)
        message = EmailMessage(
            subject, body, settings.DEFAULT_FROM_EMAIL, [address], headers={"Auto-Submitted": "auto-generated"}
        )
        try:
            reached += message.send()
        except OSError as error:  # smtplib's are among them
            log.warning("the mail server takes no e-mail: %s", error)
    return reached > 0


def _within(call: Any, seconds: float) -> Any:
    """What a call returns; None where it fails or does not end in time (its thread is left behind)."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception:
            log.warning("staff could not be told through the database", exc_info=True)
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="doctor-mail", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
