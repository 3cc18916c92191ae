"""The long proofs of a release in small (`make proof NAMES="switches …"`): the same code, some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.releases.compare.shipped import add_shipped
from qwenstudio.embedded import Services
from tests.chaos.rig import offer_sleeping_model
from tests.deploy.crowd import make_visitors
from tests.deploy.server import running_server
from tests.proofs.faults import FAULTS, try_all
from tests.proofs.faults import is_good as faults_are_good
from tests.proofs.handover import hand_over, room_for_one
from tests.proofs.switches import is_lossless, switch_lanes

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(900)]


def test_a_crowd_does_not_notice_a_release(tmp_path: Path, services: Services, db: object) -> None:
    offer_sleeping_model()
    visitors = make_visitors(2)
    with running_server(tmp_path / "server", services) as server:
        counts = switch_lanes(
            server, visitors, folder=tmp_path, requests=200, clients=4, streams=4, every_s=0.1, rounds=(3,), reloads=4
        )
    print(counts)
    assert is_lossless(counts), counts
    assert (counts["switches"], counts["reloads_besides"]) == (3, 4)


def test_a_broken_release_gets_no_user(tmp_path: Path, services: Services, db: object) -> None:
    """Two of the proof's: one is found while it starts, one when it is promoted."""
    offer_sleeping_model()
    add_shipped()
    visitors = make_visitors(1)
    names = ("its model is broken", "draws wrong pictures")
    chosen = [fault for fault in FAULTS if fault.name in names]
    with running_server(tmp_path / "server", services) as server:
        counts = try_all(server, visitors, folder=tmp_path, faults=chosen, timeout_s=300)
    print(counts)
    assert faults_are_good(counts, faults=2), counts
    assert {one["by"] for one in counts["tried"]} == {"start", "promote"}


def test_a_hand_over_loses_nothing(tmp_path: Path, services: Services, db: object) -> None:
    offer_sleeping_model()
    visitors = make_visitors(2)
    with running_server(tmp_path / "server", services, **room_for_one(load_s=1)) as server:
        counts = hand_over(server, visitors, folder=tmp_path, clients=2, streams=2, between_s=1, settle_s=2)
    print(counts)
    assert is_lossless(counts), counts
    assert len(counts["pauses"]) == 3
    assert set(counts["reasons"]) <= {"loading", "own_limit"}, counts["reasons"]
