"""The bundled demo model really draws from pictures: what is asked for appears, and what is to be kept is kept."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_tiny import Silent
from PIL import Image, ImageDraw

from generation.engine.catalog import PROJECT_ROOT, read_catalog
from generation.engine.loader import LoadedModel, load_model
from generation.engine.request import InputPicture, PassRow
from generation.engine.run import run_pass
from generation.engine.tail import Tail

Pixels = np.ndarray[Any, np.dtype[np.int64]]


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo")
    return load_model(spec, device="cpu")


def draw(demo: LoadedModel, prompt: str, *, seed: int, **task: Any) -> Image.Image:
    row = PassRow(key="a", prompt=prompt, width=256, height=256, num_inference_steps=4, seed=seed, **task)
    (outcome,) = run_pass(demo, [row], Silent()).rows
    assert outcome.latents is not None, outcome.error
    found: list[Any] = []
    tail = Tail(demo)
    tail.submit(outcome.latents, found.append)
    assert tail.close(60) and found[0].error is None
    return Image.open(io.BytesIO(found[0].picture.file.data)).convert("RGB")


def save(file: Path, picture: Image.Image) -> InputPicture:
    picture.save(file, "PNG")
    return InputPicture(path=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture).astype(np.int64)


def middle(picture: Image.Image) -> Pixels:
    """The mean colour of what stands in the middle."""
    return pixels(picture)[108:148, 108:148].reshape(-1, 3).mean(axis=0)


@pytest.fixture(scope="module")
def circle(demo: LoadedModel) -> Image.Image:
    picture = draw(demo, "a large red circle on a white background", seed=5)
    red, green, blue = middle(picture)
    assert red > 180 and green < 90 and blue < 90
    return picture


def test_strength_says_how_much_stays(demo: LoadedModel, circle: Image.Image, tmp_path: Path) -> None:
    """A red circle asked to be a blue one: the more so the stronger."""
    source = save(tmp_path / "circle.png", circle)
    colours = [
        middle(
            draw(
                demo, "a large blue circle on a white background", seed=9, task="image-to-image", images=(source,),
                strength=strength,
            )
        )
        for strength in (0.3, 0.55, 0.7, 1.0)
    ]  # fmt: skip
    reds, blues = [colour[0] for colour in colours], [colour[2] for colour in colours]
    assert reds == sorted(reds, reverse=True) and blues == sorted(blues)
    assert reds[0] > 180 and blues[0] < 90
    assert reds[-1] < 90 and blues[-1] > 150


@pytest.mark.parametrize(
    ("prompt", "colour"),
    [
        ("a large yellow star on a white background", (250, 210, 60)),
        ("白色背景上的大绿色正方形", (58, 156, 80)),
    ],
    ids=["yellow star", "green square"],
)
def test_inpainting_replaces_what_is_masked_only(
    demo: LoadedModel, circle: Image.Image, tmp_path: Path, prompt: str, colour: tuple[int, int, int]
) -> None:
    mask = Image.new("L", circle.size, 0)
    ImageDraw.Draw(mask).ellipse((40, 40, 215, 215), fill=255)
    source, masked = save(tmp_path / "circle.png", circle), save(tmp_path / "mask.png", mask)
    drawn = draw(demo, prompt, seed=1, task="inpaint", images=(source,), mask=masked)
    assert np.abs(middle(drawn) - colour).max() < 40
    kept = np.asarray(mask) == 0
    assert np.array_equal(pixels(drawn)[kept], pixels(circle)[kept])
