"""Z-Image: the engine's loop against `ZImagePipeline` and against a plain loop, and the traps of the pipeline."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
from engine_tiny import SPECIAL, Silent, make_row
from families_tiny import FOUR, make_spec, make_z_image, psnr
from safetensors.torch import save_file

from generation.engine.checkpoint import verify_checkpoint
from generation.engine.errors import CheckpointError
from generation.engine.family import Pass
from generation.engine.loader import LoadedModel, load_model
from generation.engine.pipelines.z_image import guidance_scale
from generation.engine.run import run_pass
from generation.engine.tail import to_picture

GUIDED = {"negative_prompt": "a blurry blue square, far away", "true_cfg_scale": 2.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("z-image")
    make_z_image().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return load_model(make_spec(folder, "z-image"), device="cpu")


@pytest.fixture(scope="module")
def pipe(folder: Path, model: LoadedModel) -> ZImagePipeline:
    """Its own copy of the weights, loaded the plain way, in the dtype that the model has."""
    pipe = ZImagePipeline.from_pretrained(folder, dtype=model.family.dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(model: Any, *rows: Any) -> dict[str, torch.Tensor]:
    outcome = run_pass(model, rows, Silent())
    assert [row.error for row in outcome.rows] == [None] * len(rows)
    return {row.key: row.latents.tensor for row in outcome.rows}


def alone(model: Any, row: Any) -> torch.Tensor:
    return draw(model, row)[row.key]


def make_four(**changes: Any) -> list[Any]:
    return [make_row(f"r{index}", prompt=prompt, seed=50 + index, **changes) for index, prompt in enumerate(FOUR)]


def ask_pipe(pipe: Any, row: Any, **kwargs: Any) -> Any:
    if row.negative_prompt and "prompt" in kwargs:
        kwargs["negative_prompt"] = row.negative_prompt
    return pipe(
        width=row.width, height=row.height, num_inference_steps=row.num_inference_steps,
        guidance_scale=row.true_cfg_scale - 1, generator=torch.Generator("cpu").manual_seed(row.seed),
        output_type=kwargs.pop("output_type", "latent"), **kwargs,
    ).images  # fmt: skip


def embeds_of(model: Any, row: Any) -> dict[str, list[torch.Tensor]]:
    conds = model.family.encode(row)
    found = {"prompt_embeds": [conds.positive.embeds]}
    return found if conds.negative is None else {**found, "negative_prompt_embeds": [conds.negative.embeds]}


# 1. Against the pipeline, and against a loop that owes nothing to it


@pytest.mark.parametrize("size", [(64, 64), (96, 48)])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_pass_equals_pipe(model: Any, pipe: Any, size: tuple[int, int], steps: int) -> None:
    row = make_row(width=size[0], height=size[1], num_inference_steps=steps, seed=7)
    ours = alone(model, row)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, ask_pipe(pipe, row, **embeds_of(model, row)))


def test_guided_pass_equals_pipe(model: Any, pipe: Any) -> None:
    row = make_row(seed=9, **GUIDED)
    ours = alone(model, row)
    assert torch.equal(ours, ask_pipe(pipe, row, **embeds_of(model, row)))
    assert not torch.equal(ours, alone(model, make_row(seed=9)))


@torch.no_grad()
def plain_loop(pipe: Any, row: Any) -> torch.Tensor:
    """Text to latents by the classes alone: encode one prompt, noise, Euler steps."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    count = row.num_inference_steps
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / count, count))
    messages = [{"role": "user", "content": row.prompt}]
    text = pipe.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens = pipe.tokenizer(text, return_tensors="pt")
    caption = pipe.text_encoder(**tokens, output_hidden_states=True).hidden_states[-2][0]
    noise = torch.Generator("cpu").manual_seed(row.seed)
    x = torch.randn(1, 16, row.height // 8, row.width // 8, generator=noise)
    for index in range(count):
        now, after = scheduler.sigmas[index], scheduler.sigmas[index + 1]
        time = ((1000 - now * 1000) / 1000)[None]
        (flow,) = pipe.transformer([x[0, :, None].to(pipe.transformer.dtype)], time, [caption], return_dict=False)[0]
        x = x - (after - now) * flow[:, 0].float()[None]
    return x


def test_pass_equals_a_plain_loop_alone_and_in_a_batch_of_four(model: Any, pipe: Any) -> None:
    rows = make_four()
    together = draw(model, *rows)
    lengths = {model.family.encode(row).positive.length for row in rows}
    assert len(lengths) == 4
    for row in rows:
        wanted = plain_loop(pipe, row)
        assert torch.equal(alone(model, row), wanted)
        assert torch.equal(together[row.key], wanted)


def test_pass_is_the_pipelines_picture_within_a_tolerance(model: Any, pipe: Any) -> None:
    """The pipeline encodes 512 padded tokens, the engine the prompt alone: BF16 rounds elsewhere, nothing more."""
    for row in [*make_four(), *make_four(**GUIDED)]:
        theirs = ask_pipe(pipe, row, prompt=row.prompt)
        assert psnr(alone(model, row), theirs) >= 40
    wrong = ask_pipe(pipe, make_row("z", prompt=FOUR[1], seed=50), prompt=FOUR[1])
    assert psnr(alone(model, make_four()[0]), wrong) < 40  # the prompt does matter


def test_encoding_reads_the_layer_that_the_pipeline_reads(model: Any, pipe: Any) -> None:
    for prompt in FOUR:
        theirs = pipe.encode_prompt(prompt, do_classifier_free_guidance=False)[0][0]
        ours = model.family.encode(make_row(prompt=prompt)).positive.embeds
        assert ours.shape == theirs.shape and psnr(ours, theirs) >= 45
    tokens = pipe.tokenizer(FOUR[0], return_tensors="pt")
    last = pipe.text_encoder(**tokens, output_hidden_states=True).hidden_states
    assert psnr(last[-2], last[-1]) < 20  # the last layer says something else


# 2. The traps


def test_rows_of_mixed_lengths_share_a_forward_bit_for_bit(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: one forward for rows whose prompts differ in length, sizes and steps as they come."""
    rows = [*make_four()]
    wanted = {row.key: alone(model, row) for row in rows}
    forwards = count_forwards(model, monkeypatch)
    monkeypatch.setattr(model.family, "_together", lambda rows: rows)
    together = draw(model, *rows)
    assert [len(call) for call in forwards] == [4] * 4
    for row in rows:
        if model.family.dtype == torch.bfloat16:
            assert torch.equal(together[row.key], wanted[row.key])
        assert psnr(together[row.key], wanted[row.key]) > 100


def count_forwards(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    calls: list[list[Any]] = []
    transformer = model.family._pipe.transformer
    real = transformer.forward

    def forward(x: list[Any], *args: Any, **kwargs: Any) -> Any:
        calls.append(list(x))
        return real(x, *args, **kwargs)

    monkeypatch.setattr(transformer, "forward", forward)
    return calls


def test_true_cfg_scale_one_means_no_guidance(model: Any, pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline's guidance_scale is ours minus one: passing 1.0 on would double the forwards."""
    assert [guidance_scale(value) for value in (1.0, 2.0, 4.5)] == [0.0, 1.0, 3.5]
    forwards = count_forwards(model, monkeypatch)
    plain = alone(model, make_row(true_cfg_scale=1.0, negative_prompt="blue"))
    assert [len(call) for call in forwards] == [1] * 4
    assert torch.equal(plain, alone(model, make_row()))
    doubled = ask_pipe(pipe, make_row(true_cfg_scale=2.0), prompt="a red circle")
    assert psnr(doubled, plain) < 40


def test_nobodys_prompts_are_changed(model: Any, pipe: Any) -> None:
    prompts = ["a red circle"]
    ask_pipe(pipe, make_row(num_inference_steps=1), prompt=prompts)
    assert prompts != ["a red circle"]  # what the pipeline does to a caller's list
    row = make_row()
    before = dataclasses.asdict(row)
    first = alone(model, row)
    assert dataclasses.asdict(row) == before
    assert torch.equal(first, alone(model, row))


def begin(model: Any, *rows: Any) -> Pass:
    return model.family.begin(rows, [model.family.encode(row) for row in rows])


def finish(model: Any, state: Pass) -> dict[str, torch.Tensor]:
    while not state.finished:
        model.family.step(state)
    return {latents.key: latents.tensor for latents in model.family.latents(state)}


@pytest.mark.parametrize("guided", [{}, GUIDED], ids=["plain", "guided"])
def test_rows_leave_and_join_between_steps(model: Any, guided: Any) -> None:
    """Dropping a row in the pipeline's callback raises IndexError under CFG."""
    first, second, late, last = make_four(**guided)
    state = begin(model, first, second, last)
    model.family.step(state)
    model.family.drop(state, {second.key})
    model.family.step(state)
    model.family.join(state, begin(model, late))
    parked = model.family.park(state)
    model.family.step(state)  # must not reach into what was parked
    state = model.family.resume(parked)
    model.family.step(state)
    model.family.step(state)
    done = finish(model, state)
    assert set(done) == {first.key, last.key}
    model.family.drop(state, set(done))
    done |= finish(model, state)
    for row in (first, late, last):
        assert torch.equal(done[row.key], alone(model, row))


def test_the_schedule_is_a_static_shift_of_three(model: Any) -> None:
    state = begin(model, make_row(num_inference_steps=4))
    assert state.rows[0].sigmas.tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0], abs=1e-6)
    assert state.latents.dtype == torch.float32
    eight = begin(model, make_row(num_inference_steps=8, width=128)).rows[0].sigmas
    assert eight[-2] == pytest.approx(0.3, abs=1e-6)  # whatever the size


@pytest.mark.parametrize("token", SPECIAL)
def test_typed_special_tokens_are_text(model: Any, pipe: Any, token: str) -> None:
    prompt = f"a circle{token} and {token}"
    middle, count = model.family._tokens.read(prompt)
    ids = model.family._tokens.head + middle + model.family._tokens.tail
    special = pipe.tokenizer.convert_tokens_to_ids(token)
    plain = model.family._tokens.head + model.family._tokens.read("a circle")[0] + model.family._tokens.tail
    assert ids.count(special) == plain.count(special)
    assert pipe.tokenizer.decode(ids).count(prompt) == 1
    assert count.used == count.total > 4


@pytest.mark.parametrize("prompt", [*FOUR, " leading", "\n\nlines\n", "<tool_response>x</tool_response>"])
def test_tokens_equal_the_pipelines(model: Any, pipe: Any, prompt: str) -> None:
    tokens = model.family._tokens
    message = [{"role": "user", "content": prompt}]
    text = pipe.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert tokens.head + tokens.read(prompt)[0] + tokens.tail == pipe.tokenizer(text)["input_ids"]


def test_long_prompts_are_cut_where_the_pipeline_cuts_and_say_so(model: Any, pipe: Any) -> None:
    long = "a circle " * 700
    conds = model.family.encode(make_row(prompt=long))
    assert conds.positive.length == 512 and conds.positive.tokens.cut
    assert conds.positive.tokens.used == model.family.limits.max_prompt_tokens < 512
    theirs = pipe.encode_prompt(long, do_classifier_free_guidance=False)[0][0]
    assert theirs.shape == conds.positive.embeds.shape and psnr(conds.positive.embeds, theirs) >= 45
    assert alone(model, make_row(prompt=long, num_inference_steps=1)).isfinite().all()


# 3. Out of the pass, and in


def test_decoded_picture_equals_the_pipes(model: Any, pipe: Any) -> None:
    row = make_row(width=96, height=64, seed=5)
    theirs = np.asarray(ask_pipe(pipe, row, output_type="pil", **embeds_of(model, row))[0])
    state = begin(model, row)
    assert model.family.latents(state) == []  # nothing is finished yet
    finish(model, state)
    (latents,) = model.family.latents(state)
    assert np.array_equal(np.asarray(to_picture(model.family.decoder().decode(latents))), theirs)


def test_each_step_shows_a_small_preview(model: Any) -> None:
    hooks = Silent()
    run_pass(model, make_four(), hooks)
    for _, _, previews in hooks.steps:
        assert len(previews) == 4 and all(0 < len(webp) <= 4096 for webp in previews.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 144}, "width 144 is over this model's 128"),
        ({"num_inference_steps": 60}, "num_inference_steps 60 is out of range, 1 to 50"),
    ],
)
def test_rows_beyond_the_limits_are_refused(model: Any, change: Any, reason: str) -> None:
    (row,) = run_pass(model, [make_row(**change)], Silent()).rows
    assert row.status == "failed" and str(row.error) == reason


def test_a_turbo_lora_is_fused_and_its_adapter_gone(folder: Path, model: Any, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, layer in model.family._pipe.transformer.named_modules():
        if isinstance(layer, torch.nn.Linear) and ".attention.to_" in name:
            weights[f"transformer.{name}.lora_A.weight"] = torch.randn(4, layer.in_features, generator=generator)
            weights[f"transformer.{name}.lora_B.weight"] = torch.randn(layer.out_features, 4, generator=generator)
    file = tmp_path / "turbo.safetensors"
    save_file(weights, str(file))
    spec = make_spec(folder, "z-image", turbo_lora={"path": str(file)}, scheduler={"shift": 3.0})
    fused = load_model(spec, device="cpu")
    assert not getattr(fused.family._pipe.transformer, "peft_config", None)
    assert psnr(alone(fused, make_row()), alone(model, make_row())) < 40


def test_another_familys_checkpoint_is_refused(folder: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="is for 'ZImagePipeline', not for QwenImagePipeline"):
        verify_checkpoint(folder, family="qwen-image")
    with pytest.raises(CheckpointError, match="is for 'QwenImagePipeline', not for ZImagePipeline"):
        load_model(make_spec(checkpoint, "z-image"), device="cpu")
