"""The real claim and settle on a simulated GPU: nobody who waits falls behind, and what people are told is about right.

The long figures are `tests/proofs/fairness.py`'s; here is as much as fits a test.
"""

from __future__ import annotations

import random

import pytest

from tests.generation.domain.desk import Look, check_books
from tests.generation.domain.shares import Shares, run_mixed

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize(("hands", "room"), [(1, 2), (2, 2), (1, 1)])
def test_clocks_of_those_who_wait_stay_together(look: Look, hands: int, room: int) -> None:
    shares = Shares(look, random.Random(hands * 10 + room), hands_wanted=hands, room=room)
    shares.open(tenants=8)
    run_mixed(shares, requests=120, load=2.0)
    print(dict(shares.counts), shares.spread, shares.predictions())
    assert 0.1 < shares.spread <= 1 + 1e-9
    assert shares.counts["loads"] > 0 or room == 2
    check_books(look)
