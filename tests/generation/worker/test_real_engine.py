"""The worker with torch and a tiny checkpoint of the true classes."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from generation.models import Model
from tests.chaos.rig import Rig, Submit, make_entry, row_of, wait_for
from tests.factories import Person

ENGINE_TESTS = Path(__file__).resolve().parents[2] / "engine"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random weights in the true classes, saved once."""
    sys.path.insert(0, str(ENGINE_TESTS))
    from engine_tiny import make_pipeline  # the engine's own helper, found beside its tests

    folder = tmp_path_factory.mktemp("tiny")
    make_pipeline().save_pretrained(folder, safe_serialization=True)
    yield folder
    sys.path.remove(str(ENGINE_TESTS))


def offer(folder: Path) -> None:
    """Serve the demo slug from this folder."""
    Model.objects.filter(slug="demo").update(spec=make_entry() | {"path": str(folder), "batch_max": 4})


@pytest.mark.timeout(600)
def test_real_pictures_are_drawn_and_delivered(
    rig: Rig, alice: Person, mallory: Person, submit: Submit, media: Path, checkpoint: Path
) -> None:
    offer(checkpoint)
    first, second = submit(alice, seed=1), submit(mallory, seed=2, prompt="a circle " * 300, n=2, output_format="jpeg")
    child = rig.start_worker(engine="")
    wait_for(rig, first, "succeeded", seconds=200)
    wait_for(rig, second, "succeeded", seconds=60)

    rows = rig.ask('SELECT file, thumbnail, sha256, format, seed FROM generation_image ORDER BY seed, "index"')
    assert [(row[3], row[4]) for row in rows] == [("png", 1), ("jpeg", 2), ("jpeg", 3)]
    for file, thumbnail, sha256, kind, _ in rows:
        data = (media / str(file)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            assert (picture.format, picture.size) == (str(kind).upper(), (64, 64))
            picture.load()
        with Image.open(media / str(thumbnail), formats=("WEBP",)) as small:
            small.load()
    (warnings,) = row_of(rig, second, "warnings")
    assert [warning["code"] for warning in warnings] == ["prompt_cut"]
    for (receipt,) in rig.ask("SELECT body FROM generation_receipt"):
        assert isinstance(receipt, dict)
        assert receipt["dtype"] in ("bfloat16", "float32")
        assert receipt["bucket"] in (64, 128, 256, 512)
        assert receipt["hardware"].startswith("cpu-")
    assert rig.ask("SELECT count(*) FROM generation_cost WHERE ms > 0")[0][0] == 1
    assert rig.ask("SELECT memory_used > 0, dtype <> '', serves FROM generation_worker") == [(True, True, ["demo"])]
    child.terminate()
    assert child.wait(60) == 0


@pytest.mark.timeout(400)
def test_broken_checkpoint_is_named(rig: Rig, checkpoint: Path, tmp_path: Path) -> None:
    """What else can be wrong with one is in `tests/engine/test_checkpoint_verify.py`."""
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    bad = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    bad.write_bytes(bad.read_bytes()[:-100])
    offer(folder)
    child = rig.start_worker(engine="")
    assert child.wait(150) == 3, rig.log("worker")
    (state, detail) = rig.ask("SELECT state, detail FROM generation_worker")[0]
    assert state == "failed"
    assert str(detail).startswith(f"model demo: {bad}: ")
    assert str(bad) in rig.log("worker")
