"""Compiled blocks draw the same pictures, with a bounded number of graphs; a compiler that fails costs no picture."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_tiny import PROMPTS, Silent, make_row, make_spec
from families_tiny import FOUR, make_z_image, psnr, save_qwen_image_21
from families_tiny import make_spec as make_family_spec
from lora_files import draw
from torch._dynamo.testing import CompileCounterWithBackend

from generation.engine.compilecache import prune_cache
from generation.engine.compiled import MOST_GRAPHS, Compiler
from generation.engine.loader import LoadedModel, load_model
from generation.engine.request import PassRow
from generation.engine.run import run_pass

SIZES = [(64, 64), (128, 64), (64, 128), (96, 128), (128, 128)]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """What another test compiled counts for nothing here."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def z_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("z-image")
    make_z_image().save_pretrained(folder)
    return folder


def load_compiled(folder: Path, counter: Any, *, family: str = "qwen-image", **changes: Any) -> LoadedModel:
    spec = make_spec(folder, compile=True, **changes)
    if family != "qwen-image":
        spec = make_family_spec(folder, family, compile=True, **changes)
    model = load_model(spec, device="cpu", compiler=Compiler(backend=counter, on_cpu=True))
    assert model.compiled
    return model


def rows_of_all_kinds(prompts: list[str]) -> list[PassRow]:
    """Every size with every prompt, once guided too."""
    rows = [
        make_row(f"{width}x{height}-{index}", width=width, height=height, prompt=prompt, num_inference_steps=1)
        for width, height in SIZES
        for index, prompt in enumerate(prompts)
    ]
    return [*rows, make_row("guided", true_cfg_scale=3.0, negative_prompt="blue", num_inference_steps=2)]


def test_the_same_pictures_and_no_graph_for_each_size(model: LoadedModel, checkpoint: Path) -> None:
    counter = CompileCounterWithBackend("eager")
    compiled = load_compiled(checkpoint, counter)
    rows = rows_of_all_kinds([PROMPTS[0], PROMPTS[6]])
    wanted, got = draw(model, rows, Silent()), draw(compiled, rows, Silent())
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    made = counter.frame_count
    assert 1 <= made <= 4
    again = draw(compiled, [make_row(width=112, height=80, prompt="a yellow boat")], Silent())
    assert counter.frame_count == made, "a size that was never seen needs no graph of its own"
    assert torch.equal(again["a"], draw(model, [make_row(width=112, height=80, prompt="a yellow boat")], Silent())["a"])


def test_graphs_of_z_image_are_few_too(z_checkpoint: Path) -> None:
    """Its blocks come in two kinds (with modulation and without), and its lengths follow prompt and size."""
    plain = load_model(make_family_spec(z_checkpoint, "z-image"), device="cpu")
    counter = CompileCounterWithBackend("eager")
    compiled = load_compiled(z_checkpoint, counter, family="z-image")
    rows = rows_of_all_kinds(FOUR[:2])
    wanted, got = draw(plain, rows, Silent()), draw(compiled, rows, Silent())
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    assert 1 <= counter.frame_count <= 8


def test_qwen_image_21_is_compiled_too(tmp_path: Path) -> None:
    """It keeps keys and values of the text from step to step."""
    folder = save_qwen_image_21(tmp_path / "21")
    changes = {"size_multiple": 32, "length_buckets": []}
    plain = load_model(make_family_spec(folder, "qwen-image-2.1", **changes), device="cpu")
    counter = CompileCounterWithBackend("eager")
    compiled = load_compiled(folder, counter, family="qwen-image-2.1", **changes)
    rows = [make_row(str(width), width=width, prompt=FOUR[index], num_inference_steps=2)
            for index, width in enumerate((64, 96, 128))]  # fmt: skip
    wanted, got = draw(plain, rows, Silent()), draw(compiled, rows, Silent())
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    assert compiled.compiled and 1 <= counter.frame_count <= 8


def test_what_inductors_front_end_makes_is_the_picture(model: LoadedModel, checkpoint: Path) -> None:
    """Functionalised and decomposed as for inductor; inductor's own kernels round otherwise (59 to 61 dB were seen)."""
    compiled = load_compiled(checkpoint, "aot_eager")
    rows = [make_row("a", num_inference_steps=2), make_row("b", width=128, num_inference_steps=2)]
    wanted, got = draw(model, rows, Silent()), draw(compiled, rows, Silent())
    for key, latents in wanted.items():
        assert psnr(got[key], latents) >= 40
    assert compiled.compiled, "the compiler failed and the model drew without it"


def test_a_compiler_that_fails_costs_no_picture(
    model: LoadedModel, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise OSError("no C++ compiler here")

    compiled = load_compiled(checkpoint, broken)
    assert torch.equal(draw(compiled, [make_row()], Silent())["a"], draw(model, [make_row()], Silent())["a"])
    assert compiled.blocks is not None and not compiled.compiled
    assert "no C++ compiler here" in compiled.blocks.reason
    assert "drawing goes on without" in caplog.text
    assert torch.equal(draw(compiled, [make_row()], Silent())["a"], draw(model, [make_row()], Silent())["a"])


def test_too_many_graphs_cost_no_picture(model: LoadedModel, checkpoint: Path) -> None:
    compiled = load_compiled(checkpoint, "eager")
    assert torch._dynamo.config.recompile_limit >= MOST_GRAPHS
    rows = [make_row("a"), make_row("b", width=128)]
    wanted = draw(model, rows, Silent())
    with torch._dynamo.config.patch(recompile_limit=1):
        got = draw(compiled, rows, Silent())
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    assert not compiled.compiled


def test_out_of_memory_is_no_fault_of_the_compiler(checkpoint: Path) -> None:
    compiled = load_compiled(checkpoint, "eager")
    transformer = compiled.family._pipe.transformer  # type: ignore[attr-defined]

    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert compiled.blocks is not None
    compiled.blocks._forward = full
    with pytest.raises(torch.OutOfMemoryError):
        transformer(hidden_states=None)
    assert compiled.compiled


def test_compiling_is_a_phase_of_its_own_that_nobody_pays_for(checkpoint: Path) -> None:
    compiled, hooks = load_compiled(checkpoint, "eager"), Silent()
    row = make_row(num_inference_steps=2)
    first = run_pass(compiled, [row], hooks).rows[0]
    assert [name for name, _ in hooks.phases] == ["encode", "compile", "step", "step"]
    assert hooks.phases[1][1] == {"rows": 1, "loras": (0, 0)}
    again = Silent()
    second = run_pass(compiled, [row], again).rows[0]
    assert [name for name, _ in again.phases] == ["encode", "step", "step"], "once for a shape"
    assert first.latents is not None and second.latents is not None
    assert torch.equal(first.latents.tensor, second.latents.tensor)
    assert len(first.timings.step_ms) == 2 and first.timings.share_ms < 1000 * 60
    other = Silent()
    run_pass(compiled, [row, make_row("b", num_inference_steps=2)], other)
    assert "compile" in [name for name, _ in other.phases], "another number of rows is another shape"


def test_memory_that_runs_out_while_compiling_halves_the_batch(checkpoint: Path) -> None:
    compiled = load_compiled(checkpoint, "eager")
    assert compiled.blocks is not None
    forward, asked = compiled.blocks._forward, []

    def full(*args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    compiled.blocks._forward = full
    outcome = run_pass(compiled, [make_row("a"), make_row("b")], Silent())
    assert outcome.halved == 1 and [row.status for row in outcome.rows] == ["drawn", "drawn"]
    assert compiled.compiled


@pytest.mark.parametrize(
    ("changes", "compiler", "offload", "said"),
    [
        ({}, Compiler(on_cpu=True), "none", "does not ask"),
        ({"compile": True}, Compiler(), "none", "a CPU gains little"),
        ({"compile": True}, Compiler(on_cpu=True), "model", "offloaded"),
    ],
)
def test_when_it_is_off(checkpoint: Path, changes: dict[str, Any], compiler: Compiler, offload: str, said: str) -> None:
    spec = make_spec(checkpoint, **changes)
    reason = compiler.why_not(wanted=spec.compile, device=torch.device("cpu"), offload=offload)
    assert said in reason
    if offload == "none":
        assert not load_model(spec, device="cpu", compiler=compiler).compiled


def test_an_entry_without_it_says_nothing_of_it(checkpoint: Path) -> None:
    """A release that does not know the key reads the same entries."""
    assert "compile" not in make_spec(checkpoint).to_table()
    spec = make_spec(checkpoint, compile=True)
    assert spec.to_table()["compile"] is True and dataclasses.replace(spec, compile=False) == make_spec(checkpoint)


# ---- what was compiled, on disk


def test_compiled_code_goes_to_the_studios_folder(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "elsewhere"))
    cache = tmp_path / "compiled"
    load_model(
        make_spec(checkpoint, compile=True), device="cpu", compiler=Compiler(backend="eager", cache=cache, on_cpu=True)
    )
    assert cache_dir() == str(cache)


def test_the_folder_keeps_its_bound(tmp_path: Path) -> None:
    now = 1_000_000.0
    for age, name in ((9, "fxgraph/ab/one"), (5, "ab"), (7, "triton/0/KERNEL"), (0.1, "fxgraph/cd/two")):
        (tmp_path / name).mkdir(parents=True)
        for part in ("code", "kernel"):
            file = tmp_path / name / part
            file.write_bytes(bytes(500))
            os.utime(file, (now - 3600 * age, now - 3600 * age))
    assert prune_cache(tmp_path, most_bytes=4000, now=now) == 0
    assert prune_cache(tmp_path, most_bytes=2500, now=now) == 2000
    left = {str(file.parent.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"ab", "fxgraph/cd/two"}, "whole folders, those used longest ago"
    assert prune_cache(tmp_path, most_bytes=0, now=now) == 1000, "what is in use stays"
    assert prune_cache(tmp_path / "nowhere", most_bytes=0, now=now) == 0
