"""Politeness towards passwords, codes and mailboxes: after a few tries from the same place, wait a little.

Counted per place (`accounts/domain/places.py`) and per place with person, never per person alone: nobody can lock
somebody else out. The counts live in Valkey, where all web processes share them and none loses them by a restart. Each
process also counts for itself and goes by that while Valkey is away: several are a little more generous then, none
lets everything through, and nobody waits longer than a window. What really protects a password is its hash.

Two counts are of a person or mailbox alone, and neither locks anybody out. Codes: a million tries from a thousand
places find one, so beyond `CODES_ANYWHERE` only browsers that the person has signed in with before may try. Mails:
beyond `MAILS_AN_HOUR` of one kind no more are sent to an address, and the links in those that were are still good.

Keys in Valkey: `qs:tries:<what>:<sha256 of place and person>` and `qs:tries:<what>-from:<sha256 of the place>`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from django.core.cache import cache
from django.utils.translation import ngettext

from accounts.domain.places import place_of
from accounts.valkey import count_in_windows, forget_window, read_windows

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
        keys = self._keys(person, address)
        names = [name for name, _ in keys]
        counts = read_windows(names)
        if counts is None:
            counts = [_read_here(name) for name in names]
        return max((rest for (count, rest), (_, bound) in zip(counts, keys, strict=True) if count >= bound), default=0)

    def count(self, *, person: str, address: str | None) -> None:
        """Remember a try for the window that began with the first."""
        names = [name for name, _ in self._keys(person, address)]
        count_in_windows(names, window_s=self.window_s)
        for name in names:
            _count_here(name, window_s=self.window_s)

    def forget(self, *, person: str, address: str | None) -> None:
        """After a right one the person's own count begins anew; the place's stays."""
        name = self._keys(person, address)[0][0]
        forget_window(name)
        cache.delete(name)

    def _keys(self, person: str, address: str | None) -> list[tuple[str, int]]:
        place = place_of(address)
        own = sha256(f"{place} {person.strip().lower()}".encode()).hexdigest()
        return [
            (f"qs:tries:{self.name}:{own}", self.per_person),
            (f"qs:tries:{self.name}-from:{sha256(place.encode()).hexdigest()}", self.per_place),
        ]


_counting = Lock()


def _count_here(name: str, *, window_s: int) -> None:
    """Count in this process too, so that it knows what happened before when Valkey goes away."""
    with _counting:
        count, until = cache.get(name) or (0, 0.0)
        if until <= time.time():
            count, until = 0, time.time() + window_s
        cache.set(name, (count + 1, until), timeout=max(1, math.ceil(until - time.time())))


def _read_here(name: str) -> tuple[int, int]:
    """As `read_windows`, from this process's memory."""
    count, until = cache.get(name) or (0, 0.0)
    return count, max(0, math.ceil(until - time.time()))


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
