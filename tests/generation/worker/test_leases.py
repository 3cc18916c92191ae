"""Held rows: whoever ends one lets it go, and a row that nobody works on is not renewed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from accounts.ids import uuid7
from generation.domain.claim import ClaimedRow
from generation.worker.clock import PhaseClock
from generation.worker.leases import Leases


def make_claimed(*, fence: int = 1, id: UUID | None = None) -> ClaimedRow:
    return ClaimedRow(
        id=id or uuid7(), tenant=uuid7(), user=None, key=None, fence=fence, attempt=0, lost=0, model="demo",
        task="text-to-image", prompt="a red circle", negative_prompt="", width=64, height=64, steps=4, params={},
        seeds=((0, 7),), n=1, done=0, charged_on=date(2026, 1, 1), estimate_ms=60, claimed_ms=60, hardware="sleeping",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def leases() -> Leases:
    return Leases(beat=lambda: None, clock=PhaseClock())


def test_block_lets_go_of_what_was_neither_ended_nor_handed_over(leases: Leases) -> None:
    ended, handed, forgotten = make_claimed(), make_claimed(), make_claimed()
    with leases.holding([ended, handed, forgotten]):
        assert leases.count == 3
        with leases.letting_go(ended):
            assert leases.find(ended.id) == ended
        assert leases.find(ended.id) is None
        leases.hand_over(handed)
    assert leases.count == 1
    assert leases.find(handed.id) == handed
    with pytest.raises(ValueError, match="no such file"), leases.letting_go(handed):
        raise ValueError("no such file")
    assert leases.count == 0


def test_error_in_the_block_lets_go_too(leases: Leases) -> None:
    rows = [make_claimed(), make_claimed()]

    def hand_over_one() -> None:
        with leases.holding(rows):
            leases.hand_over(rows[0])
            raise RuntimeError("the database stays away")

    with pytest.raises(RuntimeError):
        hand_over_one()
    assert [leases.is_lost(row) for row in rows] == [False, True]


def test_late_end_of_an_older_claim_touches_no_newer_one(leases: Leases) -> None:
    old = make_claimed(fence=1)
    new = make_claimed(fence=2, id=old.id)
    with leases.holding([new]):
        with leases.letting_go(old):
            pass
        assert leases.find(new.id) == new
