"""Many at once against two real web processes: what `make proof NAMES="quota interleaved"` does at length."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwenstudio.embedded import Services
from tests.proofs import quota

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def two_fronts(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with quota.running_fronts(tmp_path_factory.mktemp("two"), STUDIO_DB_POOL=str(quota.THREADS)) as urls:
        yield urls


@pytest.mark.parametrize("kind", quota.KINDS)
def test_exactly_as_many_as_the_quota_allows(db: None, two_fronts: list[str], services: Services, kind: str) -> None:
    from tests.chaos.rig import offer_sleeping_model

    offer_sleeping_model()
    for _ in range(2):
        result = quota.run_round(two_fronts, kind, superuser_url=services.superuser_url, together=40)
        assert result["faults"] == []
        assert result["answers"].total() == 40
