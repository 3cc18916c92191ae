"""The real claim and settle on a simulated GPU: nobody who waits falls behind, and what people are told is about right.

The long figures are `tests/proofs/fairness.py`'s; here is as much as fits a test.
"""

from __future__ import annotations

import random

import pytest

from tests.generation.domain.desk import Look, check_books
from tests.generation.domain.shares import Shares, run_mixed, run_saturated

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize(("hands", "room"), [(1, 2), (2, 2), (1, 1)])
def test_clocks_of_those_who_wait_stay_together(look: Look, hands: int, room: int) -> None:
    """Models, sizes, LoRAs, weights, sleepers, cancels, failures; the last one holds one model at a time."""
    shares = Shares(look, random.Random(hands * 10 + room), hands_wanted=hands, room=room)
    shares.open(tenants=8)
    run_mixed(shares, requests=120, load=1.3)
    assert 0.1 < shares.spread <= 1 + 1e-9
    assert shares.counts["loads"] > 0 or room == 2
    assert shares.predictions()["within_range"] >= 0.6, shares.predictions()  # of a hundred: four of five, and chance
    check_books(look)


def test_gpu_time_follows_the_weights(look: Look) -> None:
    shares = Shares(look, random.Random(3))
    shares.open(tenants=3)
    assert run_saturated(shares, minutes=2) < 0.1
    assert shares.spread <= 1 + 1e-9
