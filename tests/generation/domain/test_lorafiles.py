"""LoRA files: stored once under their hash, held against the models, gone with their rows."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from accounts.tenancy import across_tenants
from generation.domain.lorafiles import (
    add_lora,
    add_piece,
    add_shipped_loras,
    lora_path,
    refit_loras,
    remove_lora,
    upload_path,
)
from generation.domain.request import LoraChoice
from generation.domain.storage import janitor
from generation.errors import LoraInUse, LoraUnfit
from generation.models import Lora, Model
from tests.factories import Person
from tests.generation.domain.desk import submit
from tests.generation.lorafiles import RANK, offer_demo_checkpoint, write_lora

AsWorker = Callable[[], AbstractContextManager[None]]
KEY = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"


@pytest.fixture(autouse=True)
def _demo(media: Path, _clean_slate: None) -> None:
    offer_demo_checkpoint()


def add(file: Path, slug: str = "style") -> Lora:
    return add_lora(slug=slug, family="qwen-image", file=file, title="Style")


def test_a_file_is_looked_over_and_stored_under_its_hash(media: Path, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "x.safetensors")
    lora = add(file)
    data = file.read_bytes()
    assert (lora.sha256, lora.bytes, lora.rank) == (hashlib.sha256(data).hexdigest(), len(data), RANK)
    assert lora.fits == ["demo"]
    stored = media / lora_path(lora.sha256)
    assert stored.read_bytes() == data
    assert stored.stat().st_mode & 0o777 == 0o600
    with pytest.raises(LoraUnfit, match="is here already, as style"):
        add(file, "again")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({KEY: np.full((RANK, 160), np.nan)}, f"key {KEY} holds NaN"),
        ({KEY: np.zeros((RANK, 32))}, rf"demo: key {KEY} has the shape \[4, 32\], this model's layer takes \[4, 160\]"),
        ({"transformer.layers.0.attention.to_q.lora_A.weight": np.zeros((4, 8))}, r"layers\.0\.\S+ fits no layer"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(media: Path, tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(LoraUnfit, match=says):
        add(write_lora(tmp_path / "x.safetensors", change=change))
    assert not Lora.objects.exists()
    assert not (media / "loras").exists()


def test_a_rank_over_the_model_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoraUnfit, match="has rank 129, this model takes 1 to 128"):
        add(write_lora(tmp_path / "x.safetensors", rank=129))


def test_another_family_and_a_model_that_is_not_here(tmp_path: Path) -> None:
    file = write_lora(tmp_path / "x.safetensors")
    with pytest.raises(LoraUnfit, match="no model of the family z-image has its files on this machine"):
        add_lora(slug="x", family="z-image", file=file, title="x")
    spec = Model.objects.get(slug="demo").spec
    Model.objects.filter(slug="demo").update(spec=spec | {"path": str(tmp_path / "gone")})
    with pytest.raises(LoraUnfit, match=r"on this machine \(demo\)"):
        add(file)


def test_models_that_come_later_are_found(tmp_path: Path) -> None:
    lora = add(write_lora(tmp_path / "x.safetensors"))
    row = Model.objects.get(slug="demo")
    Model.objects.create(slug="second", title="Second", pool="demo", spec=row.spec)
    assert refit_loras() == {"style": ("demo", "second")}
    assert refit_loras() == {}
    Model.objects.filter(slug="second").update(spec=row.spec | {"max_lora_rank": 2})
    assert refit_loras() == {"style": ("demo",)}
    lora.refresh_from_db()
    assert lora.fits == ["demo"]


def test_a_lora_that_is_waited_for_is_not_deleted(
    alice: Person, media: Path, tmp_path: Path, as_worker: AsWorker
) -> None:
    lora = add(write_lora(tmp_path / "x.safetensors"))
    submit(alice.caller, loras=(LoraChoice(name="style"),))
    with as_worker(), across_tenants():
        with pytest.raises(LoraInUse):
            remove_lora(lora)
        assert (media / lora_path(lora.sha256)).is_file()
        other = add_lora(
            slug="other", family="qwen-image", file=write_lora(tmp_path / "y.safetensors", seed=1), title="Other"
        )
        remove_lora(other)
        assert not (media / lora_path(other.sha256)).exists()
        assert [row.slug for row in Lora.objects.all()] == ["style"]


def test_the_janitor_keeps_files_of_rows_and_takes_the_others(media: Path, tmp_path: Path, as_worker: AsWorker) -> None:
    lora = add(write_lora(tmp_path / "x.safetensors"))
    orphan = media / lora_path("ab" * 32)
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"left behind")
    add_piece("0123456789abcdef", at=0, data=b"half an upload")
    for path in (media / "loras").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 7200,) * 2)
    with as_worker():
        report = janitor()
    assert set(report.orphans) == {lora_path("ab" * 32), "loras/.0123456789abcdef.tmp"}
    assert (media / lora_path(lora.sha256)).is_file()
    assert not orphan.exists()


def test_an_upload_grows_only_at_its_end(media: Path) -> None:
    upload = "0123456789abcdef"
    assert add_piece(upload, at=0, data=b"abc") == 3
    assert add_piece(upload, at=0, data=b"abc") == 3  # sent twice: the answer was lost
    assert add_piece(upload, at=7, data=b"x") == 3
    assert add_piece(upload, at=3, data=b"de") == 5
    assert upload_path(upload).read_bytes() == b"abcde"
    for wrong in ("", "../../etc/passwd", "0123456789abcdeg", "0123456789abcdef0"):
        with pytest.raises(ValueError, match="no such upload"):
            upload_path(wrong)


def test_what_is_shipped_comes_once(media: Path) -> None:
    assert add_shipped_loras() == ["portrait"]
    lora = Lora.objects.get()
    assert lora.fits == ["demo"]
    assert lora.trigger_words.startswith("portrait, ")
    Lora.objects.update(title="Ours")
    assert add_shipped_loras() == []
    assert Lora.objects.get().title == "Ours"
