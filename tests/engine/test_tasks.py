"""Pictures that start from pictures: against the pipelines, against a plain loop, in company, and what may go wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    QwenImageImg2ImgPipeline,
    QwenImageInpaintPipeline,
    ZImageImg2ImgPipeline,
    ZImageInpaintPipeline,
)
from engine_tiny import PROMPTS, Silent, make_row
from engine_tiny import make_spec as make_qwen_spec
from families_tiny import make_spec, make_z_image
from PIL import Image

from generation.engine.errors import InputRefused, RowRefused
from generation.engine.inputs import read_input
from generation.engine.loader import LoadedModel, load_model
from generation.engine.outcome import RowOutcome
from generation.engine.prompts import pad_embeds
from generation.engine.request import InputPicture, PassRow
from generation.engine.run import run_pass
from generation.engine.tail import Tail

SIDE = 64
FAMILIES = ("qwen-image", "z-image")


def save(folder: Path, picture: Image.Image, name: str) -> InputPicture:
    file = folder / name
    picture.save(file, "PNG")
    return InputPicture(path=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, InputPicture]:
    """A picture with edges and slopes, and a mask whose edges lie between latents' (16 pixels)."""
    folder = tmp_path_factory.mktemp("inputs")
    down, across = np.mgrid[0:SIDE, 0:SIDE]
    pixels = np.stack([across * 4, down * 4, (down + across) % 32 * 8], axis=-1).astype(np.uint8)
    pixels[20:40, 10:30] = (250, 40, 20)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[16:48, 32:64] = 255
    large = Image.fromarray(pixels).resize((100, 80))
    return {
        "picture": save(folder, Image.fromarray(pixels), "picture.png"),
        "large": save(folder, large, "large.png"),
        "mask": save(folder, Image.fromarray(mask), "mask.png"),
    }


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> pytest.MonkeyPatch:
    """FP32 everywhere: `ZImageImg2ImgPipeline` draws its noise in the text's dtype, our family always in FP32."""
    patch = pytest.MonkeyPatch()
    patch.setattr("generation.engine.loader.pick_dtype", lambda device: (torch.float32, "these tests"))
    return patch


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, single: Any) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("z-image")
    make_z_image().save_pretrained(folder, safe_serialization=True)
    try:
        return {
            "qwen-image": load_model(make_qwen_spec(checkpoint), device="cpu"),
            "z-image": load_model(make_spec(folder, "z-image"), device="cpu"),
        }
    finally:
        single.undo()


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> LoadedModel:
    return models[request.param]


def from_picture(pictures: dict[str, InputPicture], key: str = "a", **changes: Any) -> PassRow:
    usual = {"task": "image-to-image", "images": (pictures["picture"],), "strength": 0.5, "seed": 7}
    return make_row(key, **{**usual, **changes})


def inpainting(pictures: dict[str, InputPicture], key: str = "a", **changes: Any) -> PassRow:
    return from_picture(pictures, key, **{"task": "inpaint", "mask": pictures["mask"], **changes})


def outcomes(model: LoadedModel, rows: list[PassRow]) -> dict[str, RowOutcome]:
    outcome = run_pass(model, rows, Silent())
    assert [row.error for row in outcome.rows] == [None] * len(rows)
    return {row.key: row for row in outcome.rows}


def draw(model: LoadedModel, *rows: PassRow) -> dict[str, torch.Tensor]:
    found = {}
    for key, row in outcomes(model, list(rows)).items():
        assert row.latents is not None
        found[key] = row.latents.tensor
    return found


def alone(model: LoadedModel, row: PassRow) -> torch.Tensor:
    return draw(model, row)[row.key]


def ask_pipe(model: LoadedModel, row: PassRow, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """What the family's own pipeline for the task draws, the VAE's mode taken instead of a sample."""
    family: Any = model.family
    qwen = model.spec.family == "qwen-image"
    task = {
        ("qwen-image", "image-to-image"): QwenImageImg2ImgPipeline,
        ("qwen-image", "inpaint"): QwenImageInpaintPipeline,
        ("z-image", "image-to-image"): ZImageImg2ImgPipeline,
        ("z-image", "inpaint"): ZImageInpaintPipeline,
    }[model.spec.family, row.task]
    monkeypatch.setattr(f"{task.__module__}.retrieve_latents", lambda encoded, *_, **__: encoded.latent_dist.mode())
    pipe: Any = task(**{**family._pipe.components, "vae": family._vae})
    pipe.set_progress_bar_config(disable=True)
    conds = family.encode(row)
    bucket = family.plan(row, conds).bucket
    embeds, mask = pad_embeds([conds.positive], bucket=bucket, exact=False)
    texts = (
        {"prompt_embeds": embeds, "prompt_embeds_mask": mask}
        if qwen
        else {"prompt_embeds": [embeds[0, : conds.positive.length]]}
    )
    with Image.open(row.images[0].path) as picture:
        given: dict[str, Any] = {"image": picture.convert("RGB")}
    if row.mask is not None:
        with Image.open(row.mask.path) as mask_picture:
            given["mask_image"] = mask_picture.convert("L")
    pixels: torch.Tensor = pipe(
        width=row.width, height=row.height, num_inference_steps=row.num_inference_steps, strength=row.strength,
        generator=torch.Generator("cpu").manual_seed(row.seed), output_type="latent",
        **({"true_cfg_scale": 1.0} if qwen else {"guidance_scale": 0.0}), **texts, **given,
    ).images  # fmt: skip
    return pixels


# 1. Against the pipelines, and against a loop that owes nothing to them


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("make", [from_picture, inpainting], ids=["image-to-image", "inpaint"])
def test_pass_equals_the_tasks_pipeline(
    model: LoadedModel, pictures: Any, strength: float, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = make(pictures, strength=strength)
    ours = alone(model, row)
    assert torch.equal(ours, ask_pipe(model, row, monkeypatch))


@pytest.mark.parametrize("strength", [0.3, 0.55, 0.9])
def test_pass_between_levels_equals_a_plain_loop(
    models: dict[str, LoadedModel], pictures: Any, strength: float
) -> None:
    """No pipeline begins between two levels of its schedule; the loop is written out."""
    family: Any = models["z-image"].family
    row = from_picture(pictures, strength=strength)
    levels = [1.0, 0.9, 0.75, 0.5, 0.0]  # shift 3 at four steps
    at = 4 - 4 * strength
    first = levels[int(at)] + (at - int(at)) * (levels[int(at) + 1] - levels[int(at)])
    sigmas = torch.tensor([first, *levels[int(at) + 1 :]], dtype=torch.float32)
    text = family.encode(row).positive.embeds
    with torch.no_grad(), Image.open(row.images[0].path) as picture:
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None] * 2 - 1
        vae = family._vae
        clean = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        noise = torch.randn(clean.shape, generator=torch.Generator("cpu").manual_seed(row.seed))
        latents = sigmas[0] * noise + (1 - sigmas[0]) * clean
        for now, after in itertools.pairwise(sigmas):
            time = ((1000 - now * 1000) / 1000)[None]
            predicted = family._pipe.transformer([latents[0][:, None]], time, [text], return_dict=False)[0][0]
            latents = latents - (after - now) * predicted.squeeze(1)[None]
    assert torch.allclose(alone(models["z-image"], row), latents, atol=1e-5)


def test_twelve_strengths_are_twelve_pictures(model: LoadedModel, pictures: Any) -> None:
    """The pipelines make four of them at four steps. And the further from the picture the stronger."""
    rows = [from_picture(pictures, f"s{index}", strength=index / 12) for index in range(1, 13)]
    drawn = draw(model, *rows)
    clean = model.family.encode(rows[0]).start.clean  # type: ignore[union-attr]
    assert len({tensor.numpy().tobytes() for tensor in drawn.values()}) == 12
    away = [float((drawn[row.key].float() - clean.float()).norm()) for row in rows]
    assert away[0] < away[3] < away[7] < away[11]


def test_noise_is_that_of_text_to_image(model: LoadedModel, pictures: Any) -> None:
    """With strength 1 nothing is left of the picture, and it is the text's own picture with this seed."""
    assert torch.equal(alone(model, from_picture(pictures, strength=1.0)), alone(model, make_row(seed=7)))


# 2. In company


def company(pictures: Any, make: Any) -> list[PassRow]:
    """Rows of different strengths that run the same number of steps, from pictures of two sizes."""
    strengths = (0.51, 0.6, 0.75, 0.66)
    sources = ("picture", "large", "picture", "large")
    return [
        make(
            pictures, f"r{index}", prompt=PROMPTS[index], strength=strength, seed=40 + index, images=(pictures[source],)
        )
        for index, (strength, source) in enumerate(zip(strengths, sources, strict=True))
    ]


@pytest.mark.parametrize("make", [from_picture, inpainting], ids=["image-to-image", "inpaint"])
def test_rows_equal_themselves_alone(model: LoadedModel, pictures: Any, make: Any) -> None:
    rows = company(pictures, make)
    rows = [dataclasses.replace(row, prompt="a red circle") for row in rows]
    together = outcomes(model, rows)
    assert {row.batch_size for row in together.values()} == {4}
    for row in rows:
        latents = together[row.key].latents
        assert latents is not None and torch.equal(latents.tensor, alone(model, row))


def test_text_and_pictures_share_a_forward(model: LoadedModel, pictures: Any) -> None:
    rows = [make_row("text", num_inference_steps=3, seed=3), from_picture(pictures, "picture", strength=0.75)]
    together = outcomes(model, rows)
    assert {row.batch_size for row in together.values()} == {2}
    for row in rows:
        latents = together[row.key].latents
        assert latents is not None and torch.equal(latents.tensor, alone(model, row))


def test_rows_that_inpaint_leave_join_and_are_parked(model: LoadedModel, pictures: Any) -> None:
    family = model.family
    rows = [dataclasses.replace(row, prompt="a red circle") for row in company(pictures, inpainting)]
    begin = [family.begin([row], [family.encode(row)]) for row in rows]
    state = family.begin(rows[:3], [family.encode(row) for row in rows[:3]])
    family.step(state)
    family.step(begin[3])
    family.drop(state, {"r0"})
    state = family.resume(family.park(state))
    family.join(state, begin[3])
    while not state.finished:
        family.step(state)
    drawn = {latents.key: latents for latents in family.latents(state)}
    assert set(drawn) == {"r1", "r2", "r3"}
    for row in rows[1:]:
        assert torch.equal(drawn[row.key].tensor, alone(model, row)), row.key
        assert drawn[row.key].paste is not None


def test_the_seeds_of_a_request_read_its_picture_once(
    model: LoadedModel, pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def note(picture: InputPicture, *, mode: str) -> Image.Image:
        read.append(mode)
        return read_input(picture, mode=mode)

    monkeypatch.setattr("generation.engine.pipelines.rows.read_input", note)
    draw(model, *(inpainting(pictures, f"s{seed}", seed=seed, width=96, height=96) for seed in range(5)))
    assert read == ["RGB", "L"]


def test_guided_rows_keep_their_pictures(model: LoadedModel, pictures: Any) -> None:
    plain = from_picture(pictures)
    guided = from_picture(pictures, negative_prompt="blurry", true_cfg_scale=3.0)
    assert not torch.equal(alone(model, plain), alone(model, guided))


def test_tasks_share_one_set_of_weights(model: LoadedModel, pictures: Any) -> None:
    family: Any = model.family

    def weights() -> dict[str, tuple[int, torch.dtype]]:
        parts = {**family._pipe.components, "own vae": family._vae}
        return {
            f"{name}.{key}": (value.data_ptr(), value.dtype)
            for name, part in parts.items() if isinstance(part, torch.nn.Module)
            for key, value in part.named_parameters()
        }  # fmt: skip

    before = weights()
    draw(model, from_picture(pictures, "i"), inpainting(pictures, "m"), make_row("t"))
    assert weights() == before and len(before) > 50


# 3. What leaves the pass


def finish(model: LoadedModel, row: PassRow) -> Image.Image:
    latents = outcomes(model, [row])[row.key].latents
    assert latents is not None
    found: list[Any] = []
    tail = Tail(model)
    tail.submit(latents, found.append)
    assert tail.close(60)
    picture = found[0].picture
    assert picture is not None, found[0].error
    return Image.open(io.BytesIO(picture.file.data)).convert("RGB")


def test_kept_pixels_are_the_pictures_own(model: LoadedModel, pictures: Any) -> None:
    """The VAE alone would move all of them."""
    row = inpainting(pictures, strength=1.0)
    drawn = np.asarray(finish(model, row))
    before = np.asarray(Image.open(row.images[0].path).convert("RGB"))
    mask = np.asarray(Image.open(pictures["mask"].path)) > 0
    assert np.array_equal(drawn[~mask], before[~mask])
    assert np.abs(drawn[mask].astype(int) - before[mask]).mean() > 5


def test_a_pixel_of_mask_is_drawn_anew(model: LoadedModel, pictures: Any, tmp_path: Path) -> None:
    """A thin stroke that misses every corner which the pipelines look at."""
    thin = np.zeros((SIDE, SIDE), np.uint8)
    thin[27:31, 33:63] = 255
    row = inpainting(pictures, mask=save(tmp_path, Image.fromarray(thin), "thin.png"), strength=1.0)
    drawn = np.asarray(finish(model, row))
    before = np.asarray(Image.open(row.images[0].path).convert("RGB"))
    assert np.abs(drawn[28:30, 35:60].astype(int) - before[28:30, 35:60]).mean() > 5


# 4. What may go wrong


def test_a_picture_that_is_gone_fails_its_own_row(model: LoadedModel, pictures: Any, tmp_path: Path) -> None:
    gone = InputPicture(path=str(tmp_path / "gone.png"), sha256="0" * 64)
    changed = dataclasses.replace(pictures["picture"], sha256="1" * 64)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    other = InputPicture(path=str(text), sha256=hashlib.sha256(b"no picture").hexdigest())
    rows = [
        from_picture(pictures, "gone", images=(gone,)),
        from_picture(pictures, "changed", images=(changed,)),
        from_picture(pictures, "text", images=(other,)),
        from_picture(pictures, "good"),
    ]
    outcome = run_pass(model, rows, Silent())
    words = {key: str(outcome.row(key).error) for key in ("gone", "changed", "text")}
    assert all(isinstance(outcome.row(key).error, InputRefused) for key in words)
    assert "cannot be read" in words["gone"] and "not the one" in words["changed"] and "no PNG" in words["text"]
    assert str(tmp_path) not in " ".join(words.values())
    assert outcome.row("good").status == "drawn"


def test_a_task_that_the_model_has_not_is_refused(models: dict[str, LoadedModel], pictures: Any) -> None:
    family: Any = models["qwen-image"].family
    with pytest.raises(
        RowRefused, match=r"task edit is not one of this model's: text-to-image, image-to-image, inpaint"
    ):
        family.check(from_picture(pictures, task="edit", strength=1.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "paint"}, "task 'paint' is unknown"),
        ({"images": ()}, "images has 0 entries, image-to-image takes 1 to 1"),
        ({"task": "text-to-image", "strength": 1.0}, "images has 1 entries, text-to-image takes 0 to 0"),
        ({"task": "inpaint"}, "mask belongs to inpaint"),
        ({"strength": 0.0}, "strength must be more than 0"),
        ({"strength": 1.5}, "strength 1.5 is out of range, 0 to 1"),
        ({"strength": float("nan")}, "strength must be a finite number"),
        ({"task": "edit"}, "strength belongs to image-to-image and inpaint"),
    ],
)
def test_values_that_do_not_go_together_are_refused(pictures: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_picture(pictures, **changes)


@pytest.mark.parametrize(
    ("steps", "strength", "runs"), [(4, 0.6, 3), (4, 0.5, 2), (4, 0.001, 1), (5, 0.6, 3), (1, 0.3, 1), (50, 1.0, 50)]
)
def test_steps_that_run(model: LoadedModel, pictures: Any, steps: int, strength: float, runs: int) -> None:
    row = from_picture(pictures, num_inference_steps=steps, strength=strength)
    assert row.steps_run == runs
    assert model.family.begin([row], [model.family.encode(row)]).rows[0].steps == runs
