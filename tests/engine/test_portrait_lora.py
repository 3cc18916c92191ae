"""The demo's portrait LoRA: its effect grows with its strength, and is exactly nil for the next request without it."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
import torch
from engine_tiny import Silent
from lora_files import draw, use
from PIL import Image

from generation.engine.catalog import PROJECT_ROOT, read_catalog
from generation.engine.demo.portrait import Face, draw_face, sample_face, say_face
from generation.engine.demo.train_portrait import LORA, PortraitRecipe, train_portrait
from generation.engine.loader import LoadedModel, load_model
from generation.engine.lorafile import fit_lora, read_lora, transformer_layers
from generation.engine.lorarules import RULES
from generation.engine.request import PassRow
from generation.engine.run import run_pass

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FACES = (Face("red", "blue"), Face("black", "yellow"), Face("brown", None))
PROMPTS = (
    "a portrait with red hair on a blue background",
    "黄色背景上的黑色头发肖像",
    "a portrait with brown hair",
)


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo")
    return load_model(spec, device="cpu")


@pytest.fixture(scope="module")
def pictures(demo: LoadedModel) -> dict[tuple[int, float], np.ndarray[Any, Any]]:
    """Each prompt at each strength, drawn in one pass, as (64, 64, 3) from 0 to 255."""
    rows = [
        PassRow(key=f"{k} {scale}", prompt=prompt, width=256, height=256, num_inference_steps=4, seed=k + 1,
                loras=(use(LORA, scale),))
        for k, prompt in enumerate(PROMPTS) for scale in STRENGTHS
    ]  # fmt: skip
    decoder = demo.family.decoder()
    outcome = run_pass(demo, rows, Silent())
    found = {}
    for row in outcome.rows:
        assert row.latents is not None, row.error
        pixels = (decoder.decode(row.latents).float().clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        k, scale = row.key.split()
        found[int(k), float(scale)] = small(Image.fromarray(pixels))
    return found


def small(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture.resize((64, 64), Image.Resampling.BOX), dtype=np.float32)


def distance_to_faces(picture: np.ndarray[Any, Any], face: Face) -> float:
    """Root mean square in grey levels to the nearest of 24 drawings of this face."""
    rng = random.Random(0)
    drawings = [small(draw_face(face, rng=rng)) for _ in range(24)]
    return min(float(np.sqrt(((picture - one) ** 2).mean())) for one in drawings)


@pytest.mark.timeout(300)
def test_the_effect_grows_with_the_strength(pictures: dict[tuple[int, float], Any]) -> None:
    moved = [
        float(np.mean([np.abs(pictures[k, scale] - pictures[k, 0.0]).mean() for k in range(len(PROMPTS))]))
        for scale in STRENGTHS
    ]
    print("grey levels from strength 0:", [round(value, 1) for value in moved])
    assert moved == sorted(moved)
    assert moved[0] == 0
    assert moved[-1] > 20  # of 255: another picture, seen from across the room


@pytest.mark.timeout(300)
def test_full_strength_draws_faces_and_none_draws_none(pictures: dict[tuple[int, float], Any]) -> None:
    with_, without = (
        [distance_to_faces(pictures[k, scale], face) for k, face in enumerate(FACES)] for scale in (1.0, 0.0)
    )
    print("grey levels to the nearest drawn face, with and without:", np.round(with_, 1), np.round(without, 1))
    assert max(with_) < 40
    assert all(near < 0.6 * far for near, far in zip(with_, without, strict=True))


@pytest.mark.timeout(300)
def test_the_next_request_without_it_is_exactly_as_before(demo: LoadedModel) -> None:
    row = PassRow(key="a", prompt=PROMPTS[0], width=256, height=256, num_inference_steps=4, seed=1)
    before = draw(demo, [row], Silent())["a"]
    styled = draw(demo, [dataclasses.replace(row, loras=(use(LORA),))], Silent())["a"]
    assert torch.equal(draw(demo, [row], Silent())["a"], before)
    assert not torch.equal(styled, before)


@pytest.mark.timeout(300)
def test_it_has_not_forgotten_the_demo_s_own_pictures(demo: LoadedModel) -> None:
    """A big yellow star stays one at full strength: nearer to itself without than to any face."""
    row = PassRow(key="a", prompt="a big yellow star on a blue background", width=256, height=256,
                  num_inference_steps=4, seed=3)  # fmt: skip
    decoder = demo.family.decoder()
    found = []
    for loras in ((), (use(LORA),)):
        outcome = run_pass(demo, [dataclasses.replace(row, loras=loras)], Silent()).rows[0]
        assert outcome.latents is not None
        pixels = (decoder.decode(outcome.latents).float().clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        found.append(small(Image.fromarray(pixels)))
    apart = float(np.sqrt(((found[0] - found[1]) ** 2).mean()))
    assert apart < distance_to_faces(found[1], Face("yellow", "blue"))


def test_the_file_is_what_a_lora_must_be() -> None:
    assert LORA.stat().st_size < 2_000_000
    lora, rules = read_lora(LORA), RULES["qwen-image"]
    layers = transformer_layers(PROJECT_ROOT / "generation/engine/demo/checkpoint", rules)
    parts = fit_lora(lora, rules=rules, layers=layers, max_rank=128)
    assert lora.rank == PortraitRecipe().rank
    assert len(parts) == 6 * 12


@pytest.mark.timeout(300)
def test_the_recipe_runs() -> None:
    weights = train_portrait(PortraitRecipe(steps=2, batch=2, faces=2, others=2, rank=2))
    assert len(weights) == 2 * 6 * 12
    assert all(tensor.dtype == torch.bfloat16 and torch.isfinite(tensor).all() for tensor in weights.values())
    moved = [tensor for name, tensor in weights.items() if "lora_B" in name]
    assert any(tensor.abs().max() > 0 for tensor in moved)  # it starts at nothing


def test_captions_say_what_is_drawn() -> None:
    rng = random.Random(1)
    for _ in range(50):
        face = sample_face(rng)
        assert face.hair != face.ground
        assert say_face(face, rng)
    same = [np.asarray(draw_face(FACES[0], rng=random.Random(5))) for _ in range(2)]
    assert np.array_equal(*same)
