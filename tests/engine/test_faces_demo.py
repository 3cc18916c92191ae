"""The portrait demo: true Z-Image classes that draw faces, and a LoRA whose effect grows with its strength."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from engine_tiny import Silent
from lora_files import use
from PIL import Image
from transformers import Qwen3Model

from generation.engine.catalog import PROJECT_ROOT, read_catalog
from generation.engine.demo.draw import COLOURS, PLAIN
from generation.engine.demo.faces.model import CHECKPOINT, SIDE
from generation.engine.demo.faces.style import darkness, draw_plain, draw_styled, warmth
from generation.engine.demo.faces.train import FacesRecipe, draw_faces, normalise, train
from generation.engine.demo.faces.train_lora import LORA, LoraRecipe, train_lora
from generation.engine.demo.portrait import GROUNDS, HAIRS, Face
from generation.engine.demo.progress import Progress
from generation.engine.loader import LoadedModel, load_model
from generation.engine.lorafile import fit_lora, read_lora, transformer_layers
from generation.engine.lorarules import RULES
from generation.engine.request import PassRow
from generation.engine.run import run_pass

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FACES = (
    ("a portrait with red hair on a blue background", Face("red", "blue")),
    ("黄色背景上的黑色头发肖像", Face("black", "yellow")),
    ("a portrait with brown hair", Face("brown", None)),
    ("portrait with purple hair on a white background", Face("purple", "white")),
    ("a blue haired portrait on a green background", Face("blue", "green")),
    ("一幅橙色头发的肖像，灰色背景", Face("orange", "gray")),
)
Pixels = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo-portrait")
    return load_model(spec, device="cpu")


def draw(demo: LoadedModel, *rows: PassRow) -> dict[str, Image.Image]:
    decoder = demo.family.decoder()
    found = {}
    for row in run_pass(demo, rows, Silent()).rows:
        assert row.latents is not None, row.error
        pixels = (decoder.decode(row.latents).float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        found[row.key] = Image.fromarray(pixels)
    return found


def make_row(prompt: str, *, key: str = "a", seed: int = 3, **changes: Any) -> PassRow:
    return PassRow(key=key, prompt=prompt, width=SIDE, height=SIDE, num_inference_steps=4, seed=seed, **changes)


def region(picture: Image.Image, box: tuple[int, int, int, int]) -> Pixels:
    left, top, right, bottom = box
    pixels: Pixels = np.asarray(picture).astype(np.float64)[top:bottom, left:right].reshape(-1, 3)
    return np.median(pixels, axis=0)


def judge(picture: Image.Image) -> tuple[str, str | None]:
    """The colours of hair and background, by the nearest of the palette."""
    hair = region(picture, (54, 24, 74, 31))
    ground = region(picture, (2, 2, 14, 14))
    grounds = {name: COLOURS[name] for name in GROUNDS} | {None: PLAIN}

    def nearest(colour: Pixels, palette: dict[Any, Any]) -> Any:
        return min(palette, key=lambda name: float(np.abs(colour - np.array(palette[name])).sum()))

    return nearest(hair, {name: COLOURS[name] for name in HAIRS}), nearest(ground, grounds)


def test_the_judge_reads_drawings() -> None:
    """And is no yes-man: another face's colours are not these."""
    rng = random.Random(5)
    right = 0
    for _, face in FACES:
        drawn = draw_plain(face, rng)
        right += judge(drawn) == (face.hair, face.ground)
        assert judge(drawn) != ("pink", "black")
    assert right == len(FACES)


def test_checkpoint_is_small_and_of_the_true_classes() -> None:
    size = sum(file.stat().st_size for file in CHECKPOINT.rglob("*") if file.is_file())
    assert size < 12_000_000
    assert {file.suffix for file in CHECKPOINT.rglob("*") if file.is_file()} <= {".json", ".safetensors", ".jinja"}
    pipe = ZImagePipeline.from_pretrained(CHECKPOINT, dtype=torch.bfloat16)
    assert isinstance(pipe.transformer, ZImageTransformer2DModel) and isinstance(pipe.vae, AutoencoderKL)
    assert isinstance(pipe.text_encoder, Qwen3Model)
    assert "/root" not in "".join(file.read_text() for file in CHECKPOINT.rglob("*.json"))


def test_faces_are_what_was_asked_for(demo: LoadedModel) -> None:
    rows = [make_row(prompt, key=f"{k} {seed}", seed=seed) for k, (prompt, _) in enumerate(FACES) for seed in (1, 2)]
    drawn = draw(demo, *rows)
    right = sum(
        judge(picture) == (FACES[int(key[0])][1].hair, FACES[int(key[0])][1].ground) for key, picture in drawn.items()
    )
    assert right >= 10, right
    for picture in drawn.values():  # eyes are darker than the cheek below them
        face = np.asarray(picture.convert("L")).astype(np.float64)
        assert face[52:62, 44:84].min() < face[70:76, 46:54].mean() - 40


@pytest.fixture(scope="module")
def lit(demo: LoadedModel) -> dict[tuple[int, float], Image.Image]:
    """Each prompt at each strength, drawn in one pass."""
    rows = [
        make_row(prompt, key=f"{k} {scale}", seed=k + 1, loras=(use(LORA, scale),))
        for k, (prompt, _) in enumerate(FACES[:4]) for scale in STRENGTHS
    ]  # fmt: skip
    return {(int(key.split()[0]), float(key.split()[1])): picture for key, picture in draw(demo, *rows).items()}


def test_the_effect_grows_with_the_strength(lit: dict[tuple[int, float], Image.Image]) -> None:
    def mean(measure: Any, scale: float) -> float:
        return float(np.mean([measure(picture) for (_, at), picture in lit.items() if at == scale]))

    def moved(scale: float) -> float:
        return float(
            np.mean([
                np.abs(np.asarray(lit[k, scale]).astype(float) - np.asarray(lit[k, 0.0])).mean() for k in range(4)
            ])
        )  # fmt: skip

    warm, dark, away = (
        [mean(warmth, s) for s in STRENGTHS],
        [mean(darkness, s) for s in STRENGTHS],
        [moved(s) for s in STRENGTHS],
    )
    assert warm == sorted(warm) and dark == sorted(dark) and away == sorted(away)
    assert away[0] == 0 and away[-1] > 15
    assert warm[-1] - warm[0] > 20 and dark[-1] - dark[0] > 10


def test_the_next_request_has_none_of_it(demo: LoadedModel) -> None:
    before = run_pass(demo, [make_row(FACES[0][0])], Silent()).rows[0].latents
    styled = run_pass(demo, [make_row(FACES[0][0], loras=(use(LORA, 1.0),))], Silent()).rows[0].latents
    after = run_pass(demo, [make_row(FACES[0][0])], Silent()).rows[0].latents
    assert before is not None and styled is not None and after is not None
    assert torch.equal(before.tensor, after.tensor) and not torch.equal(before.tensor, styled.tensor)


def test_the_lora_fits_its_model() -> None:
    layers = transformer_layers(CHECKPOINT, RULES["z-image"])
    parts = fit_lora(read_lora(LORA), rules=RULES["z-image"], layers=layers, max_rank=128)
    assert len(parts) > 20 and {part.rank for part in parts.values()} == {LoraRecipe().rank}


def test_the_recipe_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of each stage; the result is a checkpoint that the engine loads, and a LoRA is taught on it."""
    told: dict[str, list[float]] = {}

    def tell(self: Progress, step: int, **figures: float) -> None:
        told.setdefault(self.stage, []).append(figures["loss"])

    monkeypatch.setattr(Progress, "tell", tell)
    recipe = FacesRecipe(
        faces=16, vae_steps=20, settle_steps=2, text_steps=30, text_batch=16, steps=40, batch=4
    )  # fmt: skip
    train(recipe, out=tmp_path / "out", work=tmp_path)
    assert set(told) == {"vae", "vae's borders", "text", "transformer"}
    for stage in ("vae", "text", "transformer"):
        assert np.mean(told[stage][-5:]) < 0.95 * np.mean(told[stage][:5]), stage
    vae = AutoencoderKL.from_pretrained(tmp_path / "out", subfolder="vae", dtype=torch.float32)
    _, pictures = draw_faces(recipe)
    latents = normalise(vae, pictures)
    assert abs(float(latents.mean())) < 0.2 and 0.7 < float(latents.std()) < 1.3
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo-portrait")
    table = spec.to_table() | {"path": str(tmp_path / "out")}
    model = load_model(type(spec).from_table("own", table), device="cpu")
    assert draw(model, make_row(FACES[0][0]))["a"].size == (SIDE, SIDE)
    weights = train_lora(LoraRecipe(steps=2, batch=2, faces=4), tmp_path / "out")
    assert all(name.startswith("transformer.layers.") for name in weights)
    told.clear()
    train(recipe, out=tmp_path / "again", work=tmp_path)  # everything is there: nothing is taught twice
    assert not told


def test_the_style_is_warm_and_dark_at_the_edges() -> None:
    rng = random.Random(0)
    plain, styled = draw_plain(Face("red", "white"), rng), draw_styled(Face("red", "white"), rng)
    assert warmth(styled) - warmth(plain) > 25 and darkness(styled) - darkness(plain) > 20
