"""UUIDv7: version and variant as RFC 9562 says, and ids that sort by time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from accounts.ids import NO_ID, read_id, uuid7


def test_layout() -> None:
    before = time.time_ns() // 1_000_000
    identity = uuid7()
    after = time.time_ns() // 1_000_000
    assert identity.version == 7 and identity.variant == "specified in RFC 4122"
    assert before <= identity.int >> 80 <= after


def test_ids_of_one_process_grow_and_none_repeats() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(made) and len(set(made)) == len(made)


def test_threads_share_the_order() -> None:
    def make() -> list[UUID]:
        return [uuid7() for _ in range(2000)]

    with ThreadPoolExecutor(8) as pool:
        runs = [run.result() for run in [pool.submit(make) for _ in range(8)]]
    assert all(run == sorted(run) for run in runs)
    assert len({identity for run in runs for identity in run}) == 16_000


@pytest.mark.parametrize(("back_s", "follows"), [(1, True), (3600, False)])
def test_clock_set_back(back_s: int, follows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A little: ids go on growing. By an hour: they do not stay an hour ahead."""
    before, now = uuid7(), time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - back_s * 10**9)
    assert (uuid7() > before) is follows


def test_reads_ids_and_nothing_else() -> None:
    found = uuid7()
    assert read_id(str(found)) == read_id(str(found).upper()) == found
    for text in ("", "1", f"{{{found}}}", f"urn:uuid:{found}", found.hex, f"{found}x", "0" * 36, "\x00", "’" * 36):
        assert read_id(text) == NO_ID
