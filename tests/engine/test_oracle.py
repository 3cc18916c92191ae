"""The engine's loop against `pipe(...)`: bit for bit, because nothing less proves that a rounding is the same."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from engine_tiny import PROMPTS, Silent, make_row, make_rows, make_spec
from PIL import Image

from generation.engine.family import RowLatents
from generation.engine.loader import load_model
from generation.engine.prompts import pad_embeds
from generation.engine.run import run_pass
from generation.engine.schedule import model_timesteps
from generation.engine.tail import to_picture


def draw(model: Any, rows: Any) -> dict[str, torch.Tensor]:
    outcome = run_pass(model, rows, Silent())
    assert [r.error for r in outcome.rows] == [None] * len(rows)
    return {r.key: r.latents.tensor for r in outcome.rows}


def ask_pipe(oracle: Any, model: Any, row: Any, **kwargs: Any) -> torch.Tensor:
    """The pipeline's latents for the engine's padded embeddings."""
    conds = model.family.encode(row)
    shape = model.family.plan(row, conds)
    embeds, mask = pad_embeds([conds.positive], bucket=shape.bucket, exact=False)
    if conds.negative is not None:
        kwargs["negative_prompt_embeds"], kwargs["negative_prompt_embeds_mask"] = pad_embeds(
            [conds.negative], bucket=shape.negative_bucket, exact=False
        )
    return run_pipe(oracle, row, prompt_embeds=embeds, prompt_embeds_mask=mask, **kwargs)


def run_pipe(oracle: Any, row: Any, **kwargs: Any) -> torch.Tensor:
    return oracle(
        width=row.width, height=row.height, num_inference_steps=row.num_inference_steps,
        true_cfg_scale=row.true_cfg_scale, generator=torch.Generator("cpu").manual_seed(row.seed),
        output_type=kwargs.pop("output_type", "latent"), **kwargs,
    ).images  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (96, 48)])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_pass_equals_pipe(model: Any, oracle: Any, size: tuple[int, int], steps: int) -> None:
    row = make_row(width=size[0], height=size[1], num_inference_steps=steps, seed=7)
    assert torch.equal(draw(model, [row])["a"], ask_pipe(oracle, model, row))


def test_encoding_alone_equals_the_pipes(model: Any, oracle: Any) -> None:
    for prompt in PROMPTS:
        theirs, mask = oracle.encode_prompt(prompt, max_sequence_length=512)
        assert mask is None
        assert torch.equal(model.family.encode(make_row(prompt=prompt)).positive.embeds, theirs[0])


def test_exact_lengths_equal_pipe_with_its_own_encoding(checkpoint: Any, oracle: Any) -> None:
    """Without padding there is nothing left between us and a plain `pipe(prompt)`."""
    exact = load_model(make_spec(checkpoint, length_buckets=[]), device="cpu")
    for row in make_rows()[:4]:
        assert torch.equal(draw(exact, [row])[row.key], run_pipe(oracle, row, prompt=row.prompt))


def test_padding_moves_the_picture_only_by_rounding(model: Any, oracle: Any) -> None:
    """On the ladder a row is not `pipe(prompt)` bit for bit: the bucket is part of a picture's identity."""
    row = make_row(prompt=PROMPTS[1], seed=3)
    ours = draw(model, [row])["a"].float()
    theirs = run_pipe(oracle, row, prompt=row.prompt).float()
    error = (ours - theirs).pow(2).mean()
    assert 10 * torch.log10(theirs.abs().max() ** 2 / error.clamp(min=1e-20)) > 40


def test_cfg_equals_pipes_cfg(model: Any, oracle: Any) -> None:
    row = make_row(negative_prompt="a blurry blue square, far away", true_cfg_scale=2.3, seed=9)
    plain = make_row(seed=9)
    guided = draw(model, [row])["a"]
    assert torch.equal(guided, ask_pipe(oracle, model, row))
    assert not torch.equal(guided, draw(model, [plain])["a"])


def test_cfg_needs_scale_and_negative_prompt(model: Any) -> None:
    plain = draw(model, [make_row()])["a"]
    assert torch.equal(plain, draw(model, [make_row(true_cfg_scale=4.0)])["a"])
    assert torch.equal(plain, draw(model, [make_row(negative_prompt="blue")])["a"])
    assert not torch.equal(plain, draw(model, [make_row(true_cfg_scale=4.0, negative_prompt=" ")])["a"])


def test_rows_with_different_guidance_share_a_pass(model: Any) -> None:
    rows = [make_row(f"r{i}", negative_prompt="blue", true_cfg_scale=scale) for i, scale in enumerate((1.5, 2.3, 7.0))]
    together = run_pass(model, rows, Silent())
    for row in rows:
        assert together.row(row.key).batch_size == 3
        assert torch.equal(together.row(row.key).latents.tensor, draw(model, [row])[row.key])


def test_bf16_rounds_the_timestep_like_the_pipeline() -> None:
    assert model_timesteps(torch.tensor([0.75]), torch.bfloat16).item() == pytest.approx(0.7539, abs=1e-4)
    assert model_timesteps(torch.tensor([0.75]), torch.float32).item() == 0.75


def test_dynamic_schedule_equals_pipe(checkpoint: Any, oracle: Any) -> None:
    """The turbo schedule: base_shift = max_shift = ln 3 gives 1, .9, .75, .5, 0 at four steps."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    turbo = {"use_dynamic_shifting": True, "base_shift": 1.0986122886681098, "max_shift": 1.0986122886681098}
    model = load_model(make_spec(checkpoint, scheduler={**turbo, "shift_terminal": 0.0}), device="cpu")
    row = make_row()
    state = model.family.begin([row], [model.family.encode(row)])
    assert state.rows[0].sigmas.tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0], abs=1e-6)
    before, oracle.scheduler = oracle.scheduler, FlowMatchEulerDiscreteScheduler(**turbo)
    try:
        assert torch.equal(draw(model, [row])["a"], ask_pipe(oracle, model, row))
    finally:
        oracle.scheduler = before


def test_fixed_sigmas_are_taken_as_they_are(checkpoint: Any, oracle: Any) -> None:
    sigmas = [1.0, 0.9, 0.75, 0.5]
    model = load_model(make_spec(checkpoint, sigmas=sigmas), device="cpu")
    row = make_row()
    assert torch.equal(draw(model, [row])["a"], ask_pipe(oracle, model, row, sigmas=sigmas))
    refused = run_pass(model, [make_row(num_inference_steps=5)], Silent()).rows[0]
    assert refused.status == "failed" and "num_inference_steps" in str(refused.error)


def test_decoded_picture_equals_the_pipes(checkpoint: Any, oracle: Any, model: Any) -> None:
    """Exactly with the 3-D VAE; with its single-frame twin at least 50 dB."""
    row = make_row(width=96, height=64, seed=5)
    theirs = np.asarray(ask_pipe(oracle, model, row, output_type="pil")[0])
    latents = RowLatents(key="a", tensor=draw(model, [row])["a"], width=96, height=64)
    exact = load_model(make_spec(checkpoint), device="cpu", exact_decode=True)
    assert np.array_equal(np.asarray(to_picture(exact.family.decoder().decode(latents))), theirs)
    ours = np.asarray(to_picture(model.family.decoder().decode(latents)))
    assert ours.shape == theirs.shape == (64, 96, 3)
    assert psnr(ours, theirs) >= 50


def test_the_files_open_as_the_same_picture(model: Any) -> None:
    from generation.engine.files import encode_picture, encode_thumbnail

    latents = RowLatents(key="a", tensor=draw(model, [make_row()])["a"], width=64, height=64)
    picture = to_picture(model.family.decoder().decode(latents))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_picture(picture, fmt="png").data))), picture)
    for fmt in ("jpeg", "webp"):
        again = Image.open(io.BytesIO(encode_picture(picture, fmt=fmt).data))
        assert again.format.lower() == fmt and again.size == (64, 64)
    wide = Image.new("RGB", (1280, 640), "red")
    thumb = encode_thumbnail(wide)
    assert (thumb.width, thumb.height) == Image.open(io.BytesIO(thumb.data)).size == (320, 160)
    with pytest.raises(ValueError, match="format"):
        encode_picture(picture, fmt="gif")


def psnr(a: Any, b: Any) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)
