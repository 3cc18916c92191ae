"""UUIDv7: version and variant as RFC 9562 says, and ids that sort by time."""

from __future__ import annotations

import time

from accounts.ids import NO_ID, read_id, uuid7


def test_layout() -> None:
    before = time.time_ns() // 1_000_000
    identity = uuid7()
    after = time.time_ns() // 1_000_000
    assert identity.version == 7 and identity.variant == "specified in RFC 4122"
    assert before <= identity.int >> 80 <= after


def test_later_ids_are_larger_and_none_repeats() -> None:
    first = [uuid7() for _ in range(1000)]
    time.sleep(0.002)
    later = uuid7()
    assert len(set(first)) == 1000
    assert all(identity < later for identity in first)


def test_reads_ids_and_nothing_else() -> None:
    found = uuid7()
    assert read_id(str(found)) == read_id(str(found).upper()) == found
    for text in ("", "1", f"{{{found}}}", f"urn:uuid:{found}", found.hex, f"{found}x", "0" * 36, "\x00", "’" * 36):
        assert read_id(text) == NO_ID
