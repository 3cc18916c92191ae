"""Many at once against real web processes: what `make proof NAMES="quota interleaved"` does at length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qwenstudio.embedded import Services
from tests.proofs import interleaved, quota
from tests.qwenstudio.fronts import RunningFront, running_front

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def two_fronts(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with quota.running_fronts(tmp_path_factory.mktemp("two"), STUDIO_DB_POOL=str(quota.THREADS)) as urls:
        yield urls


@pytest.fixture(scope="module")
def narrow_front(test_database: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFront]:
    with running_front(tmp_path_factory.mktemp("narrow"), STUDIO_DB_POOL=str(interleaved.POOL)) as front:
        yield front


@pytest.mark.parametrize("kind", quota.KINDS)
def test_exactly_as_many_as_the_quota_allows(db: None, two_fronts: list[str], services: Services, kind: str) -> None:
    from tests.chaos.rig import offer_sleeping_model

    offer_sleeping_model()
    for _ in range(2):
        result = quota.run_round(two_fronts, kind, superuser_url=services.superuser_url, together=40)
        assert result["faults"] == []
        assert result["answers"].total() == 40


def test_nothing_is_mixed_up(db: None, narrow_front: RunningFront, services: Services, media: Path) -> None:
    parties = interleaved.make_parties(6, media)
    tally = interleaved.interleave(narrow_front.url, parties, requests=400, clients=8)
    assert tally.mixed == []
    assert tally.wrong == []
    assert (tally.kinds.total(), len(tally.kinds)) == (400, len(interleaved.ASKS))
    assert interleaved.check_rows(parties, services.superuser_url) == []


# ---- the same with a fault planted into the front: it must be found

PLANTED = "tests.qwenstudio.planted:front"


@pytest.mark.parametrize(
    ("plant", "kind"), [("look_before_leaping", "plan"), ("forget_the_key", "same idempotency key")]
)
def test_charging_too_much_is_found(db: None, tmp_path: Path, services: Services, plant: str, kind: str) -> None:
    from tests.chaos.rig import offer_sleeping_model

    offer_sleeping_model()
    with quota.running_fronts(tmp_path, target=PLANTED, PLANT=plant, STUDIO_DB_POOL=str(quota.THREADS)) as urls:
        found = (quota.run_round(urls, kind, superuser_url=services.superuser_url)["faults"] for _ in range(10))
        assert any(found), f"{plant} went unnoticed"


@pytest.mark.parametrize("plant", ["leak_the_scope", "mistake_one_caller_for_another"])
def test_mixing_up_is_found(db: None, tmp_path: Path, services: Services, media: Path, plant: str) -> None:
    parties = interleaved.make_parties(6, media)
    with running_front(tmp_path, target=PLANTED, PLANT=plant, STUDIO_DB_POOL=str(interleaved.POOL)) as front:
        tally = interleaved.interleave(front.url, parties, requests=400, clients=8)
    assert tally.mixed or tally.wrong, f"{plant} went unnoticed"
