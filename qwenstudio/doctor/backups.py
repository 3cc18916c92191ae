"""How old the newest backup is, whether the last try went well, and when all of it was last read back."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from qwenstudio.backup.outcome import Outcome, read_outcome, seconds_since
from qwenstudio.doctor.finding import Finding
from qwenstudio.units.layout import Layout

LATE_H = 26  # a night and what one takes
MISSED_H = 74  # three nights
UNREAD_DAYS = 9  # a week and what one takes
REMEDY = "make one: systemctl start studio-backup; then look at its log (journalctl -u studio-backup)"
READ_BACK = "systemctl start studio-backup-verify; then look at its log (journalctl -u studio-backup-verify)"


def check_backups() -> Iterator[Finding]:
    """The last good one, wherever it was made to; the nightly ones are in the installation's folder."""
    folder = Layout.here().backups
    found = read_outcome(settings.STUDIO_VAR, backups=folder)
    yield from _check_age(found, str(folder))
    if found.error:
        yield Finding("warn", "backup, last try", f"it failed at {found.tried_at}: {found.error}", REMEDY)
    if found.damage:
        remedy = "systemctl start studio-backup stores anew what is still there; studio-backup-verify then looks again"
        yield Finding("fail", "backup, read back", found.damage, remedy)
    elif _is_unread(found):
        text = f"last read back: {found.verified_at or 'never'}"
        yield Finding("warn", "backup, read back", text, READ_BACK)


def _check_age(found: Outcome, folder: str) -> Iterator[Finding]:
    if found.age_s is None:
        if settings.PRODUCTION:
            yield Finding("fail", "backup", f"none was ever made, and there is none in {folder}", REMEDY)
        return
    hours = found.age_s / 3600
    text = f"the newest is {hours:.0f} hours old"
    if hours > MISSED_H:
        yield Finding("fail", "backup", text, REMEDY)
    elif hours > LATE_H:
        yield Finding("warn", "backup", text, REMEDY)
    else:
        yield Finding("ok", "backup", text)


def _is_unread(found: Outcome) -> bool:
    """Whether nobody has looked for too long: backups of a week that nobody reads may all be damaged."""
    age = seconds_since(found.verified_at or found.first_at)
    return age is not None and age > UNREAD_DAYS * 86_400
