"""While two lanes run, the older release works on the newer one's schema (`make proof NAMES=schema` in small)."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwenstudio.embedded import Services
from tests.proofs.schema import add_migrations, judge, run_tests

pytestmark = pytest.mark.timeout(600)


def test_this_code_works_on_a_schema_that_was_expanded(tmp_path: Path, services: Services, db: object) -> None:
    new = add_migrations(tmp_path / "new")
    found = judge(new, services)
    assert {one["name"] for one in found} == {"accounts.0999_planted", "generation.0999_planted"}
    assert not any(one["contracting"] for one in found), found
    files = ("tests/generation/domain/test_claim.py", "tests/generation/domain/test_submit.py")
    result = run_tests(Path(__file__).resolve().parents[3], new, files)
    assert result["exit_code"] == 0, result
    assert result["passed"] > 20
