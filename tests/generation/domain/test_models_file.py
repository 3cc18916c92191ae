"""Models: the file is written into the database on demand; the database is the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.domain.catalog import load_models, spec_of
from generation.engine.errors import CatalogError
from generation.models import Model, Pool

TEXT = """
[one]
family = "qwen-image"
path = "/models/one"
pool = "p"

[two]
family = "qwen-image"
path = "/models/two"
"""


def test_diff_then_write_then_nothing(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TEXT)
    diff = load_models(file, apply=False)
    assert diff.added == ("one", "two") and diff.missing == ("demo",) and not Model.objects.filter(slug="one").exists()
    load_models(file, apply=True)
    assert spec_of(Model.objects.get(slug="one")).path == "/models/one"
    assert Pool.objects.filter(lane="blue", name="p").exists()
    assert load_models(file, apply=True).is_empty


def test_a_switch_in_the_admin_outlives_the_file(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TEXT)
    load_models(file, apply=True)
    Model.objects.filter(slug="one").update(enabled=False)
    file.write_text(TEXT.replace("/models/one", "/models/uno"))
    assert load_models(file, apply=True).changed == {"one": ("path",)}
    assert not Model.objects.get(slug="one").enabled
    file.write_text(TEXT.replace('pool = "p"', 'pool = "p"\nenabled = false'))
    load_models(file, apply=True)
    file.write_text(TEXT)
    load_models(file, apply=True)
    assert Model.objects.get(slug="one").enabled, "the file itself has changed its word"


def test_what_left_the_file_is_switched_off_on_demand(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TEXT)
    load_models(file, apply=True)
    file.write_text(TEXT.replace("[two]", "[three]"))
    assert load_models(file, apply=True).disabled == () and Model.objects.get(slug="two").enabled
    diff = load_models(file, apply=True, disable_missing=True)
    assert diff.disabled == ("demo", "two") and not diff.is_empty
    assert not Model.objects.get(slug="two").enabled and Model.objects.get(slug="one").enabled
    assert load_models(file, apply=True, disable_missing=True).is_empty


def test_a_broken_file_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TEXT + '\n[three]\nfamily = "nope"\npath = "x"\n')
    with pytest.raises(CatalogError, match="three: family"):
        load_models(file, apply=True)
    assert not Model.objects.filter(slug="one").exists()
