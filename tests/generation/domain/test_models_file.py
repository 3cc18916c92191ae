"""Models: the file is written into the database on demand; the database is the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounts.ids import uuid7
from accounts.tenancy import in_tenant
from generation.domain.catalog import find_model, load_models, spec_of, visible_models
from generation.engine.errors import CatalogError
from generation.errors import ModelNotFound
from generation.models import Model, ModelGrant, Pool
from generation.worker.load import NothingToServe, find_specs
from tests.factories import Person

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


def seen_by(person: Person) -> set[str]:
    with in_tenant(person.tenant.pk):
        return {model.slug for model in visible_models(person.caller)}


def test_an_entry_names_the_tenants_that_see_it(tmp_path: Path, alice: Person, mallory: Person) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TEXT + f'tenants = ["{alice.tenant.pk}"]\n')
    load_models(file, apply=True)
    assert seen_by(alice) == {"demo", "one", "two"} and seen_by(mallory) == {"demo", "one"}
    with in_tenant(mallory.tenant.pk):
        ModelGrant.objects.create(model_id="two")  # by the admin
    assert load_models(file, apply=True).is_empty and seen_by(mallory) == {"demo", "one", "two"}
    Model.objects.filter(slug="one").update(public=False)
    load_models(file, apply=True)
    assert seen_by(alice) == {"demo", "two"}, "the file has not changed its word on model one"
    file.write_text(TEXT)
    load_models(file, apply=True)
    assert Model.objects.get(slug="two").public


def test_a_tenant_that_does_not_exist_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    nobody = uuid7()
    file.write_text(TEXT + f'tenants = ["{nobody}"]\n')
    with pytest.raises(CatalogError, match=f"model two: tenants: there is no tenant {nobody}"):
        load_models(file, apply=True)
    assert not Model.objects.filter(slug__in=["one", "two"]).exists()


def test_a_lane_offers_and_serves_its_own_models(tmp_path: Path, alice: Person) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TEXT.replace('pool = "p"', 'pool = "p"\nlane = "green"'))
    load_models(file, apply=True)
    assert seen_by(alice) == {"demo", "two"}  # the tests' lane is blue
    with in_tenant(alice.tenant.pk), pytest.raises(ModelNotFound):
        find_model("one", alice.caller)
    with pytest.raises(NothingToServe):
        find_specs(lane="blue", pool="p", slugs=())
    assert [spec.slug for spec in find_specs(lane="green", pool="p", slugs=())] == ["one"]
