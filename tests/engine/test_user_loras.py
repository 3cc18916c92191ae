"""User LoRAs on the demo checkpoint: what is active is what the row asked for, whatever happened before it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImagePipeline
from engine_tiny import Silent
from lora_files import RANK, blocks, draw, make_weights, save, use
from safetensors.torch import load_file

from generation.engine import adapters as module
from generation.engine.adapters import Adapters
from generation.engine.catalog import PROJECT_ROOT, read_catalog
from generation.engine.errors import LoraRefused, OutOfMemory
from generation.engine.loader import LoadedModel, load_model
from generation.engine.request import PassRow
from generation.engine.run import run_pass

ROW = PassRow(key="a", prompt="a red circle", width=128, height=128, num_inference_steps=2, seed=1)


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load_demo()


def load_demo(**changes: Any) -> LoadedModel:
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo")
    return load_model(dataclasses.replace(spec, **changes), device="cpu")


@pytest.fixture
def adapters(demo: LoadedModel) -> Iterator[Adapters]:
    """With an empty cache, before and after."""
    found = demo.family.adapters
    assert found is not None
    yield found
    for sha256 in found.held:
        found.evict(sha256)


@pytest.fixture(scope="module")
def files(demo: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three LoRAs of different random weights, in the order of their hashes."""
    assert demo.family.adapters is not None
    folder = tmp_path_factory.mktemp("loras")
    made = [save(folder, make_weights(demo.family.adapters, seed=seed, only=blocks)) for seed in range(3)]
    return sorted(made)


@pytest.fixture(scope="module")
def base(demo: LoadedModel) -> torch.Tensor:
    return draw(demo, [ROW], Silent())["a"]


def paint(model: LoadedModel, *uses: Any, **changes: Any) -> torch.Tensor:
    return draw(model, [dataclasses.replace(ROW, loras=uses, **changes)], Silent())["a"]


# ---- what a strength does


def test_a_lora_draws_what_diffusers_draws(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor
) -> None:
    pipe = QwenImagePipeline.from_pretrained(
        PROJECT_ROOT / "generation/engine/demo/checkpoint", dtype=demo.family.dtype
    )
    for file, name in zip(files, "xy", strict=False):
        pipe.load_lora_weights(load_file(str(file)), adapter_name=name)
    pipe.set_adapters(["x", "y"], adapter_weights=[0.7, -1.3])
    ours = demo.family._pipe.transformer  # type: ignore[attr-defined]
    mine = paint(demo, use(files[1], -1.3), use(files[0], 0.7))
    demo.family._pipe.transformer = pipe.transformer  # type: ignore[attr-defined]
    try:
        theirs = paint(demo)
    finally:
        demo.family._pipe.transformer = ours  # type: ignore[attr-defined]
    assert torch.equal(mine, theirs)
    assert not torch.equal(mine, base)


def test_the_effect_grows_with_the_strength_in_both_directions(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor
) -> None:
    # Small strengths of a random LoRA: far ones saturate, as a trained one's would not.
    moved = [float((paint(demo, use(files[0], scale)) - base).float().norm()) for scale in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert moved == sorted(moved)
    assert moved[0] == 0 < moved[1]
    assert not torch.equal(paint(demo, use(files[0], -0.2)), paint(demo, use(files[0], 0.2)))


def test_strength_0_equals_the_base_bit_for_bit(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor
) -> None:
    assert torch.equal(paint(demo, use(files[0], 0.0)), base)
    alone = paint(demo, use(files[1], 0.5))
    assert torch.equal(paint(demo, use(files[0], 0.0), use(files[1], 0.5), use(files[2], -0.0)), alone)


def test_the_stack_s_order_does_not_matter(demo: LoadedModel, adapters: Adapters, files: list[Path]) -> None:
    uses = [use(file, scale) for file, scale in zip(files, (0.4, -0.3, 0.6), strict=True)]
    assert torch.equal(paint(demo, *uses), paint(demo, *reversed(uses)))


# ---- what comes after


def test_the_next_row_without_it_is_untouched(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor
) -> None:
    weights = {name: value.clone() for name, value in demo.family._pipe.transformer.state_dict().items()}  # type: ignore[attr-defined]
    assert not torch.equal(paint(demo, use(files[0]), use(files[1], -2.0)), base)
    assert torch.equal(paint(demo), base)
    for sha256 in adapters.held:
        adapters.evict(sha256)
    assert torch.equal(paint(demo), base)
    after = demo.family._pipe.transformer.state_dict()  # type: ignore[attr-defined]
    assert not any("lora" in name for name in after)
    renamed = {name.replace(".base_layer", ""): value for name, value in after.items()}
    assert all(torch.equal(value, renamed[name.replace(".base_layer", "")]) for name, value in weights.items())


def test_evicting_the_active_one_activates_no_other(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor
) -> None:
    """PEFT would make the other one active, at full strength: one tenant's style on another's picture."""
    alone = paint(demo, use(files[1], 0.5))
    both = [use(files[0]), use(files[1])]
    paint(demo, *both)
    paint(demo, both[0])
    adapters.evict(both[0].sha256)
    assert adapters.held == (both[1].sha256,)
    velocity = one_forward(demo)
    assert torch.equal(velocity, one_forward(load_demo()))  # nothing was chosen since: nothing is active
    assert torch.equal(paint(demo), base)
    assert torch.equal(paint(demo, use(files[1], 0.5)), alone)


def test_peft_itself_has_that_trap(demo: LoadedModel, adapters: Adapters, files: list[Path]) -> None:
    """The reason for the test above: without our care its adapters leak exactly so."""
    paint(demo, use(files[0]), use(files[1]))
    paint(demo, use(files[0]))
    name = module._name(use(files[0]).sha256)
    layers = [layer for layer in adapters._wrapped.values() if name in layer.lora_A]
    for layer in layers:
        layer.delete_adapter(name)
    try:
        assert {tuple(layer.active_adapters) for layer in layers} == {(module._name(use(files[1]).sha256),)}
    finally:
        adapters.evict(use(files[0]).sha256)


def test_loading_activates_nothing(files: list[Path]) -> None:
    demo = load_demo()  # PEFT activates on layers that never had an adapter
    assert demo.family.adapters is not None
    plain = one_forward(demo)
    demo.family.adapters.hold([use(files[0])])
    assert torch.equal(one_forward(demo), plain)


def test_no_lora_does_not_stick(demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor) -> None:
    first = paint(demo, use(files[0]))
    assert torch.equal(paint(demo), base)
    assert torch.equal(paint(demo, use(files[0])), first)  # "disabled" of the row between would draw the base
    assert not torch.equal(first, base)


def test_an_adapter_evicted_under_a_parked_pass_comes_back(
    demo: LoadedModel, adapters: Adapters, files: list[Path]
) -> None:
    wanted = paint(demo, use(files[0], 0.6))
    family, row = demo.family, dataclasses.replace(ROW, loras=(use(files[0], 0.6),))
    state = family.begin([row], [family.encode(row)])
    family.step(state)
    parked = family.park(state)
    paint(demo, use(files[1]))
    for sha256 in adapters.held:
        adapters.evict(sha256)
    state = family.resume(parked)
    family.step(state)
    assert torch.equal(family.latents(state)[0].tensor, wanted)


def test_a_fused_turbo_lora_outlives_user_loras(files: list[Path], tmp_path: Path) -> None:
    (spec,) = (spec for spec in read_catalog(PROJECT_ROOT / "deploy/models.toml") if spec.slug == "demo")
    table = spec.to_table() | {"turbo_lora": {"path": str(files[2]), "scale": 0.1}}
    model = load_model(type(spec).from_table("demo", table), device="cpu")
    found = model.family.adapters
    assert found is not None
    plain = paint(model)
    weights = copy.deepcopy(model.family._pipe.transformer.state_dict())  # type: ignore[attr-defined]
    assert not torch.equal(paint(model, use(files[0])), plain)
    found.evict(use(files[0]).sha256)
    assert torch.equal(paint(model), plain)
    after = model.family._pipe.transformer.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(after[name.replace(".base_layer", "")] if name in after else after[wrapped(name)], value)
               for name, value in weights.items())  # fmt: skip


def wrapped(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{stem}.base_layer.{kind}"


# ---- one pass


def test_a_grid_of_strengths_and_seeds_is_one_group(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor
) -> None:
    rows = [
        dataclasses.replace(ROW, key=f"{scale}/{seed}", seed=seed, loras=(use(files[0], scale),))
        for scale in (-1.0, 0.0, 0.5, 1.0)
        for seed in (1, 2)
    ]
    hooks = Silent()
    together = draw(demo, rows, hooks)
    assert [detail["rows"] for name, detail in hooks.phases if name == "step"] == [8, 8]
    for row in rows:
        assert torch.equal(together[row.key], draw(demo, [row], Silent())[row.key]), row.key
    assert torch.equal(together["0.0/1"], base)


def test_row_strengths_in_one_batched_forward_equal_single_forwards(
    demo: LoadedModel, adapters: Adapters, tmp_path: Path
) -> None:
    """As a GPU has it: one forward for all rows, strengths as a tensor, the modulation layers included.

    On the tiny sizes here BF16 kernels do the same for a row alone and in company; the strengths are exact in BF16.
    """
    file = save(tmp_path, make_weights(adapters, seed=7, strength=0.05))
    family, scales = demo.family, (-1.0, 0.0, 0.5, 1.0)
    stack = [use(file)]
    state = family.begin([ROW], [family.encode(ROW)])
    inputs = forward_inputs(state, family.dtype)
    adapters.apply(stack, [(scale,) for scale in scales])
    together = run_forward(demo, inputs, rows=4)
    for k, scale in enumerate(scales):
        adapters.apply(stack, [(scale,)])
        assert torch.equal(together[k : k + 1], run_forward(demo, inputs, rows=1)), scale
    assert len({float(row.float().sum()) for row in together}) == 4


# ---- the cache


def test_the_cache_is_bounded_in_bytes(files: list[Path], tmp_path: Path) -> None:
    demo = load_demo()
    assert demo.family.adapters is not None
    one = sum(tensor.nbytes for tensor in load_file(str(files[0])).values())
    adapters = load_demo(lora_cache_bytes=2 * one).family.adapters
    assert adapters is not None
    uses = [use(file) for file in files]
    adapters.hold(uses[:2])
    assert adapters.bytes == 2 * one
    adapters.hold([uses[0]])  # now the second one was used longest ago
    adapters.hold([uses[2]])
    assert adapters.held == (uses[0].sha256, uses[2].sha256)
    assert adapters.bytes == 2 * one
    with pytest.raises(LoraRefused, match="the stack takes"):
        adapters.hold(uses)


def test_out_of_memory_takes_out_the_others_first_then_fails_only_those_rows(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters.hold([use(files[1])])
    full, real = {"times": 1}, module._linear

    def short(weight: torch.Tensor) -> torch.nn.Linear:
        if full["times"]:
            full["times"] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(weight)

    monkeypatch.setattr(module, "_linear", short)
    wanted = paint(demo, use(files[0]))
    assert adapters.held == (use(files[0]).sha256,)  # the other one made room
    adapters.evict(use(files[0]).sha256)
    full["times"] = 1_000_000
    rows = [ROW, dataclasses.replace(ROW, key="b", loras=(use(files[0]),)),
            dataclasses.replace(ROW, key="c", seed=5, loras=(use(files[0]),))]  # fmt: skip
    outcome = run_pass(demo, rows, Silent())
    assert [row.status for row in outcome.rows] == ["drawn", "failed", "failed"]
    assert isinstance(outcome.row("b").error, OutOfMemory)
    assert outcome.rows[0].latents is not None
    assert torch.equal(outcome.rows[0].latents.tensor, base)
    assert adapters.held == ()
    monkeypatch.undo()
    assert torch.equal(paint(demo, use(files[0])), wanted)


# ---- files that must not be drawn with


def test_a_broken_file_fails_only_the_rows_that_want_it(
    demo: LoadedModel, adapters: Adapters, files: list[Path], base: torch.Tensor, tmp_path: Path
) -> None:
    gone = dataclasses.replace(use(files[2]), path=str(tmp_path / "gone.safetensors"), name="portrait")
    swapped = dataclasses.replace(use(files[2]), path=str(files[1]))
    rows = [
        ROW,
        dataclasses.replace(ROW, key="gone", loras=(gone,)),
        dataclasses.replace(ROW, key="gone too", seed=2, loras=(gone,)),
        dataclasses.replace(ROW, key="swapped", loras=(swapped, use(files[0]))),
        dataclasses.replace(ROW, key="fine", loras=(use(files[0], 0.5),)),
    ]
    outcome = run_pass(demo, rows, Silent())
    assert [row.status for row in outcome.rows] == ["drawn", "failed", "failed", "failed", "drawn"]
    assert outcome.repeated == 0
    assert str(outcome.row("gone").error).startswith("LoRA portrait: the file is missing")
    assert "is not the one that was checked" in str(outcome.row("swapped").error)
    assert all(isinstance(row.error, LoraRefused) for row in outcome.rows if row.error)
    assert str(tmp_path) not in str(outcome.row("gone").error)
    assert outcome.rows[0].latents is not None
    assert torch.equal(outcome.rows[0].latents.tensor, base)


def test_a_model_that_takes_none_says_so(demo: LoadedModel, adapters: Adapters, files: list[Path]) -> None:
    adapters.closed = "not now"
    try:
        with pytest.raises(LoraRefused, match="not now"):
            paint(demo, use(files[0]))
        paint(demo)
    finally:
        adapters.closed = ""


def test_ranks_may_differ_by_layer_and_alpha_is_heard(
    demo: LoadedModel, adapters: Adapters, tmp_path: Path, base: torch.Tensor
) -> None:
    weights = make_weights(adapters, seed=3, only=blocks)
    plain = paint(demo, use(save(tmp_path, weights), 0.5))
    alphas = {key.replace("lora_A.weight", "alpha"): torch.tensor(RANK / 2.0) for key in weights if "lora_A" in key}
    assert torch.equal(paint(demo, use(save(tmp_path, weights | alphas), 1.0)), plain)
    wider = {key: pad(value, key) if ".0.attn.to_q" in key else value for key, value in weights.items()}
    assert torch.equal(paint(demo, use(save(tmp_path, wider), 0.5)), plain)


def pad(value: torch.Tensor, key: str) -> torch.Tensor:
    """One more rank that adds nothing."""
    side = torch.zeros(1, value.shape[1]) if "lora_A" in key else torch.zeros(value.shape[0], 1)
    return torch.cat([value, side.bfloat16()], dim=0 if "lora_A" in key else 1)


def forward_inputs(state: Any, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "hidden_states": state.latents,
        "timestep": torch.ones(1, dtype=dtype),
        "encoder_hidden_states": state.embeds,
        "encoder_hidden_states_mask": state.mask,
    }


@torch.no_grad()
def run_forward(model: LoadedModel, inputs: dict[str, Any], *, rows: int) -> torch.Tensor:
    transformer = model.family._pipe.transformer  # type: ignore[attr-defined]
    repeated = {key: value.repeat(rows, *[1] * (value.ndim - 1)) for key, value in inputs.items()}
    found: torch.Tensor = transformer(**repeated, img_shapes=[[(1, 4, 4)]] * rows, return_dict=False)[0]
    return found


def one_forward(model: LoadedModel) -> torch.Tensor:
    """The transformer as it stands, with whatever is active on it."""
    state = model.family.begin([ROW], [model.family.encode(ROW)])
    return run_forward(model, forward_inputs(state, model.family.dtype), rows=1)
