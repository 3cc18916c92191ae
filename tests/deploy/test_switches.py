"""The long proofs of a release in small (`make proof NAMES="switches …"`): the same code, some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwenstudio.embedded import Services
from tests.chaos.rig import offer_sleeping_model
from tests.deploy.crowd import make_visitors
from tests.deploy.server import running_server
from tests.proofs.switches import is_lossless, switch_lanes

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(900)]


def test_a_crowd_does_not_notice_a_release(tmp_path: Path, services: Services, db: object) -> None:
    offer_sleeping_model()
    visitors = make_visitors(2)
    with running_server(tmp_path / "server", services) as server:
        counts = switch_lanes(
            server, visitors, folder=tmp_path, requests=300, clients=4, streams=4, rounds=(3,), reloads=4
        )
    print(counts)
    assert is_lossless(counts), counts
    assert (counts["switches"], counts["reloads_besides"]) == (3, 4)
