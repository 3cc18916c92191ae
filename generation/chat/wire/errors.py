"""What can go wrong between us and an upstream. The messages are for logs and staff, never for clients."""

from __future__ import annotations


class WireError(Exception):
    """An upstream did not answer as it must."""


class CannotConnect(WireError):
    """Nobody listens there, the name is unknown, or TLS failed."""


class AddressRefused(WireError):
    """The host resolves to an address that no upstream has: a setting of staff is wrong, or a name was turned."""


class TookTooLong(WireError):
    """No first byte, no next byte or no end in time; `first` says that not one byte of the body had come.

    `waited`: somebody waited for it in that moment. Where nobody did, it was the client that took its time.
    """

    def __init__(self, what: str, *, first: bool, waited: bool = True) -> None:
        super().__init__(what)
        self.first = first
        self.waited = waited


class BrokenOff(WireError):
    """The connection ended before the answer did. `stale`: a kept connection, and not one byte came."""

    def __init__(self, what: str, *, stale: bool = False) -> None:
        super().__init__(what)
        self.stale = stale


class Malformed(WireError):
    """No HTTP/1.1 that we take: a head too large, two lengths, a chunk without size."""


class TooLarge(WireError):
    """More bytes than an answer may have."""
