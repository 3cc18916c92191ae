"""Records of proofs: they hold raw counts, and grow old when their code changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.proofs.record import find_stale, write_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "code" / "deep").mkdir(parents=True)
    (tmp_path / "code" / "deep" / "a.py").write_text("a = 1\n")
    (tmp_path / "b.py").write_text("b = 1\n")
    return tmp_path


def test_record_holds_counts_and_machine(root: Path) -> None:
    path = write_record("claims", proves=["code"], counts={"lost": 0}, folder=root / "proofs", root=root)
    record = json.loads(path.read_text())
    assert record["counts"] == {"lost": 0}
    assert record["machine"]["cores"] >= 1
    assert set(record["sources"]) == {"code"}


def test_record_is_old_when_its_code_changed_or_went(root: Path) -> None:
    folder = root / "proofs"
    write_record("claims", proves=["code", "b.py"], counts={}, folder=folder, root=root)
    assert find_stale(folder=folder, root=root) == {}
    (root / "code" / "deep" / "a.py").write_text("a = 2\n")
    assert find_stale(folder=folder, root=root) == {"claims": ["code"]}
    (root / "b.py").unlink()
    assert find_stale(folder=folder, root=root) == {"claims": ["code", "b.py"]}


def test_record_of_a_missing_path_is_refused(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        write_record("claims", proves=["nowhere.py"], counts={}, folder=root / "proofs", root=root)
