"""UUIDv7 (RFC 9562, section 5.7): ids that sort by time, made without a database extension; and reading ids."""

from __future__ import annotations

import secrets
import time
from uuid import UUID

NO_ID = UUID(int=0)
"""Nobody's: what a text that is no id stands for where an id is looked up."""


def read_id(text: str) -> UUID:
    """The id in an address; `NO_ID` for whatever is none, so that it is answered like an id that does not exist."""
    try:
        found = UUID(text)
    except ValueError:
        return NO_ID
    return found if str(found) == text.lower() else NO_ID  # Python also reads `{…}` and `urn:uuid:…`


def uuid7() -> UUID:
    """A new id: 48 bits of Unix milliseconds, then version, variant and 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
