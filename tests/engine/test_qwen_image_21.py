"""Qwen-Image 2.1: the engine's loop against `QwenImage21Pipeline` and a plain loop, and the traps of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from engine_tiny import SPECIAL, Silent, make_row
from families_tiny import FOUR, load_qwen_image_21, make_spec, psnr, save_qwen_image_21
from PIL import Image

from generation.engine.errors import CatalogError, CheckpointError
from generation.engine.family import Pass
from generation.engine.loader import LoadedModel, load_model
from generation.engine.pipelines.qwen_image_21 import HEAD, SYSTEM, TAIL
from generation.engine.run import run_pass
from generation.engine.tail import to_picture

FAMILY = "qwen-image-2.1"
GUIDED = {"negative_prompt": "a blurry blue square, far away", "true_cfg_scale": 2.3}
SAMPLE_SIGMAS = [1.0, 0.9, 0.7, 0.4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen_image_21(tmp_path_factory.mktemp("qwen-image-21"))


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return load_model(make_spec(folder, FAMILY), device="cpu")


@pytest.fixture(scope="module")
def pipe(folder: Path, model: LoadedModel) -> Any:
    return load_qwen_image_21(folder, model.family.dtype)


def draw(model: Any, *rows: Any) -> dict[str, torch.Tensor]:
    outcome = run_pass(model, rows, Silent())
    assert [row.error for row in outcome.rows] == [None] * len(rows)
    return {row.key: row.latents.tensor for row in outcome.rows}


def alone(model: Any, row: Any) -> torch.Tensor:
    return draw(model, row)[row.key]


def make_four(**changes: Any) -> list[Any]:
    return [make_row(f"r{index}", prompt=prompt, seed=50 + index, **changes) for index, prompt in enumerate(FOUR)]


def ask_pipe(pipe: Any, row: Any, **kwargs: Any) -> Any:
    return pipe(
        row.prompt, negative_prompt=row.negative_prompt or None, true_cfg_scale=row.true_cfg_scale,
        width=row.width, height=row.height, num_inference_steps=row.num_inference_steps,
        generator=torch.Generator("cpu").manual_seed(row.seed), output_type=kwargs.pop("output_type", "latent"),
        **kwargs,
    ).images  # fmt: skip


# 1. Against the pipeline, and against a loop that owes nothing to it


@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_pass_equals_pipe_with_its_own_encoding(model: Any, pipe: Any, size: tuple[int, int], steps: int) -> None:
    """Text lengths are exact, so nothing is left between us and a plain `pipe(prompt)`."""
    row = make_row(width=size[0], height=size[1], num_inference_steps=steps, seed=7)
    assert torch.equal(alone(model, row), ask_pipe(pipe, row))


def test_guided_pass_equals_pipe(model: Any, pipe: Any) -> None:
    row = make_row(seed=9, **GUIDED)
    ours = alone(model, row)
    assert torch.equal(ours, ask_pipe(pipe, row))
    assert not torch.equal(ours, alone(model, make_row(seed=9)))


@torch.no_grad()
def plain_loop(pipe: Any, row: Any) -> torch.Tensor:
    """Text to latents by the classes alone, without a cache of keys and values."""
    dtype = pipe.transformer.dtype
    tokens = pipe.processor.tokenizer(HEAD + row.prompt + TAIL, return_tensors="pt")
    states: list[torch.Tensor] = []
    last = pipe.text_encoder.model.language_model.layers[-1]
    hook = last.register_forward_hook(lambda module, args, output: states.append(output))
    pipe.text_encoder(**tokens)
    hook.remove()
    hidden = states[0][0] if isinstance(states[0], tuple) else states[0]
    hidden = hidden.reshape(1, -1, hidden.shape[-1])[:, len(pipe.processor.tokenizer(SYSTEM)["input_ids"]) :]
    height, width, count = row.height // 16, row.width // 16, row.num_inference_steps
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)
    mu = 0.5 + (height * width - 256) * (0.9 - 0.5) / (8192 - 256)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / count, count), mu=mu)
    noise = torch.randn(1, 1, 16, height, width, generator=torch.Generator("cpu").manual_seed(row.seed), dtype=dtype)
    x = noise.view(1, 16, height * width).transpose(1, 2)
    mask = torch.zeros(1, hidden.shape[1] + height * width // 4, dtype=torch.bool)
    mask[:, hidden.shape[1] :] = True
    for index in range(count):
        (v,) = pipe.transformer(
            hidden_states=x, encoder_hidden_states=hidden, timestep=scheduler.timesteps[index][None].to(dtype) / 1000,
            img_shapes=[[(1, height, width)]], img_mask=mask, return_dict=False,
        )  # fmt: skip
        x = scheduler.step(v[:, -height * width :], scheduler.timesteps[index], x, return_dict=False)[0]
    return x


def test_pass_equals_a_plain_loop_alone_and_in_a_batch_of_four(model: Any, pipe: Any) -> None:
    """Within 45 dB: the plain loop computes the text's keys anew in each step, and BF16 rounds elsewhere then."""
    rows = make_four()
    together = draw(model, *rows)
    assert len({model.family.encode(row).positive.length for row in rows}) == 4
    for row in rows:
        assert psnr(alone(model, row), plain_loop(pipe, row)) >= 45
        assert torch.equal(together[row.key], alone(model, row))
        assert torch.equal(together[row.key], ask_pipe(pipe, row))


def test_the_text_is_read_before_the_last_norm(model: Any, pipe: Any) -> None:
    theirs, _, _ = pipe.encode_prompt([FOUR[1]])
    assert torch.equal(model.family.encode(make_row(prompt=FOUR[1])).positive.embeds, theirs[0])
    tokens = pipe.processor.tokenizer(HEAD + FOUR[1] + TAIL, return_tensors="pt")
    normed = pipe.text_encoder(**tokens, output_hidden_states=True).hidden_states[-1][0]
    assert psnr(theirs[0], normed[-theirs.shape[1] :]) < 20  # what transformers 5 says without the hook


# 2. The traps


def test_other_lengths_are_another_forward(model: Any, pipe: Any) -> None:
    """Padding moves a picture's rotary position: beside a long prompt a short one is another picture there."""
    short, long = make_four()[0], make_four()[3]
    assert model.family.plan(short, model.family.encode(short)) != model.family.plan(long, model.family.encode(long))

    def in_company_of(prompt: str) -> torch.Tensor:
        seeds = [torch.Generator("cpu").manual_seed(seed) for seed in (short.seed, long.seed)]
        sizes = {"width": 64, "height": 64, "num_inference_steps": 4}
        return pipe([short.prompt, prompt], generator=seeds, output_type="latent", **sizes).images[:1]

    wanted = ask_pipe(pipe, short)
    assert psnr(in_company_of(short.prompt), wanted) > 80  # no padding, no other picture
    assert psnr(in_company_of(long.prompt), wanted) < 50
    assert torch.equal(draw(model, short, long)[short.key], wanted)


def test_an_entry_with_length_buckets_is_refused(folder: Path) -> None:
    with pytest.raises(CatalogError, match=r"length_buckets: must be empty: family qwen-image-2\.1 needs exact"):
        make_spec(folder, FAMILY, length_buckets=[64, 512])
    assert make_spec(folder, FAMILY).length_buckets == ()


def test_sizes_are_multiples_of_32_and_never_floored(folder: Path, model: Any, pipe: Any) -> None:
    row = make_row(width=80)
    assert torch.equal(ask_pipe(pipe, row), ask_pipe(pipe, make_row(width=64)))  # silently, another size than asked
    (refused,) = run_pass(model, [row], Silent()).rows
    assert str(refused.error) == "width 80 is not a multiple of 32"
    assert make_spec(folder, FAMILY).size_multiple == 32
    with pytest.raises(CatalogError, match="size_multiple: 16 is not a multiple of 32"):
        make_spec(folder, FAMILY, size_multiple=16)


def test_a_checkpoints_own_levels_are_its_steps(tmp_path: Path) -> None:
    folder = save_qwen_image_21(tmp_path, sample_sigmas=SAMPLE_SIGMAS)
    model = load_model(make_spec(folder, FAMILY), device="cpu")
    pipe = load_qwen_image_21(folder, model.family.dtype)
    row = make_row(seed=3)
    assert begin(model, row).rows[0].sigmas.tolist() == pytest.approx([*SAMPLE_SIGMAS, 0])
    assert torch.equal(alone(model, row), ask_pipe(pipe, row))
    seven = make_row(seed=3, num_inference_steps=7)
    assert torch.equal(ask_pipe(pipe, seven), ask_pipe(pipe, row))  # the pipeline ignores the number
    (refused,) = run_pass(model, [seven], Silent()).rows
    assert str(refused.error) == "num_inference_steps 7 is out of range, 4 to 4"
    with pytest.raises(CheckpointError, match=r"fixes 4 steps \(sample_sigmas\), the entry's default_steps is 8"):
        load_model(make_spec(folder, FAMILY, default_steps=8), device="cpu")
    own = load_model(make_spec(folder, FAMILY, sigmas=[1.0, 0.5], default_steps=2), device="cpu")
    assert begin(own, make_row(num_inference_steps=2)).rows[0].sigmas.tolist() == [1.0, 0.5, 0.0]


def begin(model: Any, *rows: Any) -> Pass:
    return model.family.begin(rows, [model.family.encode(row) for row in rows])


def finish(model: Any, state: Pass) -> dict[str, torch.Tensor]:
    while not state.finished:
        model.family.step(state)
    return {latents.key: latents.tensor for latents in model.family.latents(state)}


@pytest.mark.parametrize("shared", [False, True], ids=["one by one", "shared forward"])
@pytest.mark.parametrize("guided", [{}, GUIDED], ids=["plain", "guided"])
def test_rows_leave_and_join_with_their_keys_and_values(
    model: Any, monkeypatch: pytest.MonkeyPatch, guided: Any, shared: bool
) -> None:
    """A row that joins later computes its text's keys in its own first step, beside rows that bring theirs."""
    first, second, late, last = (make_row(key, seed=seed, **guided) for seed, key in enumerate("abcd"))
    wanted = {row.key: alone(model, row) for row in (first, late, last)}
    if shared:
        monkeypatch.setattr(model.family, "_together", lambda rows: rows)
    state = begin(model, first, second, last)
    model.family.step(state)
    model.family.drop(state, {second.key})
    model.family.join(state, begin(model, late))
    model.family.step(state)
    parked = model.family.park(state)
    model.family.step(state)  # must not reach into what was parked
    state = model.family.resume(parked)
    model.family.step(state)
    model.family.step(state)
    done = finish(model, state)
    assert set(done) == {first.key, last.key}
    model.family.drop(state, set(done))
    done |= finish(model, state)
    for key, tensor in wanted.items():
        if shared:
            assert psnr(done[key], tensor) >= 45
        else:
            assert torch.equal(done[key], tensor)


def test_two_passes_at_once_do_not_meet(model: Any) -> None:
    """Keys and values belong to a pass's rows, not to the transformer."""
    one, two = begin(model, make_row("a", seed=1)), begin(model, make_row("b", seed=2, prompt=FOUR[1]))
    for _ in range(4):
        model.family.step(one)
        model.family.step(two)
    assert torch.equal(finish(model, one)["a"], alone(model, make_row("a", seed=1)))
    assert torch.equal(finish(model, two)["b"], alone(model, make_row("b", seed=2, prompt=FOUR[1])))


@pytest.mark.parametrize("token", SPECIAL)
def test_typed_special_tokens_are_text(model: Any, pipe: Any, token: str) -> None:
    """In the pipeline `<|image_pad|>` breaks the layout's count, and raises for the whole batch."""
    row = make_row(prompt=f"a circle{token} and {token}", num_inference_steps=1)
    tokens = model.family._tokens
    ids = tokens.head + tokens.read(row.prompt)[0] + tokens.tail
    assert pipe.processor.tokenizer.decode(ids).count(row.prompt) == 1
    assert alone(model, row).isfinite().all()
    if token == "<|image_pad|>":
        with pytest.raises(RuntimeError, match="shape mismatch"):
            ask_pipe(pipe, row)


@pytest.mark.parametrize("prompt", [*FOUR, " leading", "\n\nlines\n", "trailing  "])
def test_tokens_equal_the_pipelines(model: Any, pipe: Any, prompt: str) -> None:
    tokens = model.family._tokens
    ids = pipe.processor.tokenizer(pipe.prompt_template_t2i.format(prompt))["input_ids"]
    assert tokens.head + tokens.read(prompt)[0] + tokens.tail == ids
    assert pipe.prompt_template_t2i == HEAD + "{}" + TAIL
    assert model.family._dropped == pipe._drop_idx


def test_long_prompts_are_cut_at_the_entrys_limit_and_say_so(model: Any) -> None:
    """The pipeline reads prompts of any length; 700 words here are no reason for a pass of 8,000 tokens."""
    conds = model.family.encode(make_row(prompt="a circle " * 700))
    assert conds.positive.tokens.used == 512 and conds.positive.tokens.cut
    short = model.family.encode(make_row(prompt="x"))
    assert conds.positive.length == 512 - short.positive.tokens.used + short.positive.length


# 3. Out of the pass, and in


def test_decoded_picture_is_the_pipes_on_white(model: Any, pipe: Any) -> None:
    row = make_row(width=96, height=64, seed=5)
    theirs = ask_pipe(pipe, row, output_type="pil")[0]
    assert theirs.mode == "RGBA"
    white = Image.new("RGBA", theirs.size, "white")
    flat = np.asarray(Image.alpha_composite(white, theirs).convert("RGB")).astype(int)
    state = begin(model, row)
    finish(model, state)
    (latents,) = model.family.latents(state)
    ours = np.asarray(to_picture(model.family.decoder().decode(latents))).astype(int)
    assert ours.shape == (64, 96, 3)
    assert np.abs(ours - flat).max() <= 3  # rounded to 8 bits before and after the alpha


def test_each_step_shows_a_small_preview(model: Any) -> None:
    hooks = Silent()
    run_pass(model, make_four(), hooks)
    assert len(hooks.steps) == 16  # four lengths, four passes
    for _, _, previews in hooks.steps:
        assert all(0 < len(webp) <= 4096 for webp in previews.values())
