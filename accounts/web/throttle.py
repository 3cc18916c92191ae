"""Politeness towards passwords: after a few wrong ones from the same place, wait a little.

Counted per place and per place with e-mail, never per e-mail alone: nobody can lock somebody else out. A place is an
IPv4 address or an IPv6 network of 64 bits, which is what one customer gets: 2⁶⁴ addresses are no 2⁶⁴ places. The counts
live in Django's cache (this process's memory unless configured otherwise), so several processes are a little more
generous; what really protects a password is its hash.
"""

from __future__ import annotations

import math
import time
from hashlib import sha256

from django.core.cache import cache

from accounts.domain.places import place_of

WINDOW_S = 300
PER_PERSON = 6
PER_ADDRESS = 40


def wait_before_sign_in(*, email: str, address: str | None) -> int:
    """Seconds until another try makes sense; 0 when it may be made now."""
    entries = [cache.get(key) for key, _ in _keys(email=email, address=address)]
    bounds = [bound for _, bound in _keys(email=email, address=address)]
    until = [entry[1] for entry, bound in zip(entries, bounds, strict=True) if entry and entry[0] >= bound]
    return max(0, math.ceil(max(until) - time.time())) if until else 0


def count_failure(*, email: str, address: str | None) -> None:
    """Remember a wrong password for `WINDOW_S` after the first one."""
    for key, _ in _keys(email=email, address=address):
        count, until = cache.get(key) or (0, time.time() + WINDOW_S)
        cache.set(key, (count + 1, until), timeout=max(1, math.ceil(until - time.time())))


def forget_failures(*, email: str, address: str | None) -> None:
    """After a right password the person's own count begins anew; the address's stays."""
    cache.delete(_keys(email=email, address=address)[0][0])


def _keys(*, email: str, address: str | None) -> list[tuple[str, int]]:
    place = place_of(address)
    person = sha256(f"{place} {email.strip().lower()}".encode()).hexdigest()
    return [(f"sign-in:{person}", PER_PERSON), (f"sign-in-from:{sha256(place.encode()).hexdigest()}", PER_ADDRESS)]
