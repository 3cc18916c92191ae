"""Politeness towards places: who sends much that is wrong from one place is told to wait.

A place is an IPv4 address or an IPv6 network of 64 bits, which is what one customer gets: 2⁶⁴ addresses are no 2⁶⁴
places. Counted is per place and never per key or account, so nobody is locked out by somebody elsewhere, and only what
is wrong waits: a right key from a place with many wrong ones works. What keeps keys from being guessed are their 200
random bits, not this.

Key in Valkey: `qs:places:<what>:<sha256 of the place>`. While Valkey is away each process counts for itself.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict
from hashlib import sha256
from threading import Lock

from accounts.errors import InvalidKey, StudioError, TooManyReports, TooManyWrongKeys
from accounts.valkey import count_in_window

log = logging.getLogger(__name__)

WINDOW_S = 300
WRONG_KEYS = 30  # of one place in a window
LEAKED_KEYS = 10  # reports, likewise
REMEMBERED = 10_000  # places, in this process while Valkey is away


class LocalCounts:
    """Counts in this process's memory; the place that has been quiet longest is forgotten first."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = Lock()

    def add(self, name: str, *, window_s: int) -> tuple[int, int]:
        """As `count_in_window`."""
        now = time.monotonic()
        with self._lock:
            count, until = self._counts.pop(name, (0, 0.0))
            if until <= now:
                count, until = 0, now + window_s
            self._counts[name] = (count + 1, until)
            while len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)
        return count + 1, max(1, round(until - now))

    def clear(self) -> None:
        """Forget all."""
        self._counts.clear()


local = LocalCounts()


def place_of(address: str | None) -> str:
    """The place of an address, as text; whoever has none shares one."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or ipaddress.IPv6Address(int(found) >> 64 << 64)
    return str(found)


def refuse_wrong_key(*, address: str | None) -> StudioError:
    """Count a wrong key; what to answer: `InvalidKey`, or `TooManyWrongKeys` where there were many from this place."""
    count, rest_s = _count("wrong-keys", address)
    if count == WRONG_KEYS + 1:
        log.warning("many wrong api keys from one place", extra={"address": address})
    if count <= WRONG_KEYS:
        return InvalidKey()
    return TooManyWrongKeys(
        f"too many wrong api keys came from your address: check yours (a right one works at once), or wait {rest_s} s",
        retry_after_s=rest_s,
    )


def count_report(*, address: str | None) -> None:
    """Count a leaked key that somebody reports; raises `TooManyReports`."""
    count, rest_s = _count("leaked-keys", address)
    if count > LEAKED_KEYS:
        raise TooManyReports(
            f"too many reports from your address, max {LEAKED_KEYS} in {WINDOW_S // 60} minutes: wait {rest_s} s, "
            "or write to the operators of this studio",
            retry_after_s=rest_s,
        )


def _count(what: str, address: str | None) -> tuple[int, int]:
    name = f"qs:places:{what}:{sha256(place_of(address).encode()).hexdigest()}"
    return count_in_window(name, window_s=WINDOW_S) or local.add(name, window_s=WINDOW_S)
