"""UUIDv7 (RFC 9562, section 5.7): ids that sort by time, made without a database extension; and reading ids."""

from __future__ import annotations

import secrets
import threading
import time
from uuid import UUID

NO_ID = UUID(int=0)
"""Nobody's: what a text that is no id stands for where an id is looked up."""

_MOST_BACK = 10_000 << 12  # ten seconds: a clock that was set back by more is believed
_lock = threading.Lock()
_last = 0


def read_id(text: str) -> UUID:
    """The id in an address; `NO_ID` for whatever is none, so that it is answered like an id that does not exist."""
    try:
        found = UUID(text)
    except ValueError:
        return NO_ID
    return found if str(found) == text.lower() else NO_ID  # Python also reads `{…}` and `urn:uuid:…`


def uuid7() -> UUID:
    """A new id: Unix time in 1/4096 ms (60 bits, around the version), the variant, and 62 random bits.

    Those of one process grow strictly (section 6.2, methods 3 and 4): what one transaction writes keeps its order.
    """
    global _last
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    ticks = milliseconds << 12 | rest * 4096 // 1_000_000
    with _lock:
        if _last - _MOST_BACK < ticks <= _last:
            ticks = _last + 1
        _last = ticks
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0x2 << 62 | secrets.randbits(62)
    return UUID(int=value)
