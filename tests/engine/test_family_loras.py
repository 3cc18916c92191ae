"""User LoRAs on Z-Image and Qwen-Image 2.1: strengths per row in one pass, and nothing left for the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row
from families_tiny import make_spec, make_z_image, psnr, save_qwen_image_21
from lora_files import draw, make_weights, save, use

from generation.engine.loader import LoadedModel, load_model

SCALES = (-1.0, 0.0, 0.5, 1.0)
GUIDED = {"negative_prompt": "a blurry blue square", "true_cfg_scale": 2.3}


@pytest.fixture(scope="module", params=["z-image", "qwen-image-2.1"])
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "z-image":
        make_z_image().save_pretrained(folder, safe_serialization=True)
    else:
        save_qwen_image_21(folder)
    return load_model(make_spec(folder, request.param), device="cpu")


@pytest.fixture(scope="module")
def files(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    assert model.family.adapters is not None
    folder = tmp_path_factory.mktemp("loras")
    return [save(folder, make_weights(model.family.adapters, seed=seed)) for seed in range(2)]


def paint(model: Any, *uses: Any, **changes: Any) -> torch.Tensor:
    return draw(model, [make_row(loras=uses, **changes)], Silent())["a"]


@pytest.mark.parametrize("guided", [{}, GUIDED], ids=["plain", "guided"])
def test_a_strength_moves_the_picture_and_0_leaves_it(model: Any, files: list[Path], guided: Any) -> None:
    base = paint(model, **guided)
    moved = [float((paint(model, use(files[0], scale), **guided) - base).float().norm()) for scale in (0, 0.05, 0.2)]
    assert moved == sorted(moved) and moved[0] == 0 < moved[1]
    assert torch.equal(paint(model, **guided), base), "nothing is left for the next one"
    both = paint(model, use(files[0], 0.5), use(files[1], -0.5), **guided)
    assert torch.equal(both, paint(model, use(files[1], -0.5), use(files[0], 0.5), **guided))


@pytest.mark.parametrize("shared", [False, True], ids=["one by one", "shared forward"])
@pytest.mark.parametrize("guided", [{}, GUIDED], ids=["plain", "guided"])
def test_strengths_of_one_pass_are_each_rows_own(
    model: Any, files: list[Path], guided: Any, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(f"r{scale}", loras=(use(files[0], scale),), **guided) for scale in SCALES]
    wanted = {row.key: paint(model, *row.loras, **guided) for row in rows}
    if shared:
        monkeypatch.setattr(model.family, "_together", lambda rows: rows)
    together = draw(model, rows, Silent())
    for row in rows:
        if shared:
            assert psnr(together[row.key], wanted[row.key]) >= 40
        else:
            assert torch.equal(together[row.key], wanted[row.key])
    assert psnr(wanted["r-1.0"], wanted["r1.0"]) < 40


def test_evicting_one_activates_no_other(model: Any, files: list[Path]) -> None:
    base = paint(model)
    paint(model, use(files[0]), use(files[1]))
    for sha256 in model.family.adapters.held:
        model.family.adapters.evict(sha256)
        assert torch.equal(paint(model), base)
