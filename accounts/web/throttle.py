"""Politeness towards passwords, codes and mailboxes: after a few tries from the same place, wait a little.

Counted per place (`accounts/domain/places.py`) and per place with person, never per person alone: nobody can lock
somebody else out. The counts live in Django's cache (this process's memory unless configured otherwise), so several
processes are a little more generous; what really protects a password is its hash.

Two counts are of a person or mailbox alone, and neither locks anybody out. Codes: a million tries from a thousand
places find one, so beyond `CODES_ANYWHERE` only browsers that the person has signed in with before may try. Mails:
beyond `MAILS_AN_HOUR` of one kind no more are sent to an address, and the links in those that were are still good.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from hashlib import sha256

from django.core.cache import cache
from django.utils.translation import ngettext

from accounts.domain.places import place_of

WINDOW_S = 300
HOUR_S = 3600
DAY_S = 86_400
PER_PERSON = 6
PER_ADDRESS = 40
CODES_ANYWHERE = 60
MAILS_AN_HOUR = 5
NOWHERE = "anywhere"  # the place of the counts that know none


@dataclass(frozen=True, slots=True)
class Throttle:
    """How many tries of one kind a place has, and a person from a place (any text that names them)."""

    name: str
    per_person: int = PER_PERSON
    per_place: int = PER_ADDRESS
    window_s: int = WINDOW_S

    def wait(self, *, person: str, address: str | None) -> int:
        """Seconds until another try makes sense; 0 when it may be made now."""
        found = [(cache.get(key), bound) for key, bound in self._keys(person, address)]
        until = [entry[1] for entry, bound in found if entry and entry[0] >= bound]
        return max(0, math.ceil(max(until) - time.time())) if until else 0

    def count(self, *, person: str, address: str | None) -> None:
        """Remember a try for the window that began with the first."""
        for key, _ in self._keys(person, address):
            count, until = cache.get(key) or (0, 0.0)
            if until <= time.time():
                count, until = 0, time.time() + self.window_s
            cache.set(key, (count + 1, until), timeout=max(1, math.ceil(until - time.time())))

    def forget(self, *, person: str, address: str | None) -> None:
        """After a right one the person's own count begins anew; the place's stays."""
        cache.delete(self._keys(person, address)[0][0])

    def _keys(self, person: str, address: str | None) -> list[tuple[str, int]]:
        place = place_of(address)
        own = sha256(f"{place} {person.strip().lower()}".encode()).hexdigest()
        return [
            (f"{self.name}:{own}", self.per_person),
            (f"{self.name}-from:{sha256(place.encode()).hexdigest()}", self.per_place),
        ]


SIGN_IN = Throttle("sign-in")
CODE = Throttle("code")  # a second factor at sign-in
# Three codes of a million are right at any time: in five minutes' windows these tries would find one within weeks.
CODE_ANYWHERE = Throttle("code-anywhere", per_person=CODES_ANYWHERE, per_place=1_000_000, window_s=DAY_S)
CONFIRM = Throttle("confirm")  # the own password or code again, before something that matters
RESET = Throttle("reset", per_person=5, per_place=20, window_s=HOUR_S)
SIGN_UP = Throttle("sign-up", per_person=5, per_place=20, window_s=HOUR_S)
NEW_EMAIL = Throttle("new-email", per_person=5, per_place=20, window_s=HOUR_S)


def wait_before_sign_in(*, email: str, address: str | None) -> int:
    """Seconds until another password may be tried for this address, from there."""
    return SIGN_IN.wait(person=email, address=address)


def count_failure(*, email: str, address: str | None) -> None:
    """Remember a wrong password."""
    SIGN_IN.count(person=email, address=address)


def forget_failures(*, email: str, address: str | None) -> None:
    """After a right password."""
    SIGN_IN.forget(person=email, address=address)


def may_mail(kind: str, email: str) -> bool:
    """Whether one more mail of this kind should go to an address now; counts it."""
    mails = Throttle(f"mail-{kind}", per_person=MAILS_AN_HOUR, per_place=1_000_000_000, window_s=HOUR_S)
    if mails.wait(person=email, address=NOWHERE):
        return False
    mails.count(person=email, address=NOWHERE)
    return True


def words_of_waiting(wait_s: int) -> str:
    """What somebody reads who has to wait."""
    minutes = max(1, math.ceil(wait_s / 60))
    return ngettext(
        "Too many tries from here. Please wait %(n)d minute.",
        "Too many tries from here. Please wait %(n)d minutes.",
        minutes,
    ) % {"n": minutes}
