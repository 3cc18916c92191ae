"""LoRAs of a compiled model: they change without another graph, and each draws what it draws without the compiler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_tiny import Silent, make_row, make_spec
from families_tiny import psnr
from lora_files import blocks, draw, make_weights, save, use
from torch._dynamo.testing import CompileCounterWithBackend

from generation.engine.adapters import Adapters
from generation.engine.compiled import Compiler
from generation.engine.errors import LoraRefused
from generation.engine.loader import LoadedModel, load_model
from generation.engine.request import LoraUse

ROW = make_row(num_inference_steps=2)


@dataclasses.dataclass
class Pair:
    """The same weights with the compiler and without, and how many graphs there are."""

    compiled: LoadedModel
    plain: LoadedModel
    counter: Any

    @property
    def graphs(self) -> int:
        return int(self.counter.frame_count)

    @property
    def adapters(self) -> Adapters:
        assert self.compiled.family.adapters is not None
        return self.compiled.family.adapters

    def paint(self, *uses: LoraUse, **changes: Any) -> torch.Tensor:
        row = dataclasses.replace(ROW, loras=uses, **changes)
        return draw(self.compiled, [row], Silent())["a"]

    def wanted(self, *uses: LoraUse, **changes: Any) -> torch.Tensor:
        row = dataclasses.replace(ROW, loras=uses, **changes)
        return draw(self.plain, [row], Silent())["a"]


def make_pair(checkpoint: Path, **changes: Any) -> Pair:
    counter = CompileCounterWithBackend("eager")
    compiler = Compiler(backend=counter, on_cpu=True)
    compiled = load_model(make_spec(checkpoint, compile=True, **changes), device="cpu", compiler=compiler)
    return Pair(compiled, load_model(make_spec(checkpoint), device="cpu"), counter)


@pytest.fixture
def pair(checkpoint: Path) -> Iterator[Pair]:
    torch._dynamo.reset()
    yield make_pair(checkpoint)
    torch._dynamo.reset()


@pytest.fixture
def make(model: LoadedModel, tmp_path: Path) -> Callable[..., Path]:
    """`make(seed, rank=…, only=…, alpha=…)` writes a LoRA."""
    adapters = model.family.adapters
    assert adapters is not None

    def write(seed: int, *, alpha: float | None = None, **how: Any) -> Path:
        weights = make_weights(adapters, seed=seed, **{"only": blocks, "strength": 0.4, **how})
        if alpha is not None:
            names = {key.rpartition(".lora_")[0] for key in weights}
            weights |= {f"{name}.alpha": torch.tensor(alpha) for name in names}
        return save(tmp_path, weights)

    return write


def differ(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Far more than rounding does: these pairs agree with the plain model at 60 dB and more."""
    return psnr(ours, theirs) < 45


def attention(name: str) -> bool:
    return ".attn." in name


def mlp(name: str) -> bool:
    return "_mlp." in name


def test_another_lora_needs_no_graph(pair: Pair, make: Callable[..., Path]) -> None:
    one, two = use(make(1)), use(make(2))
    base = pair.paint()
    first = pair.paint(one)
    pair.paint()  # without any, but with the layers that carry them
    made = pair.graphs
    assert differ(first, base)
    second = pair.paint(two)
    assert differ(second, first)
    assert torch.equal(pair.paint(one), first), "A, B, A is A again"
    assert torch.equal(pair.paint(), base), "and nothing is left of either"
    for scale in (0.3, -1.0, 0.7):
        pair.paint(dataclasses.replace(two, scale=scale))
    assert pair.graphs == made, "another file or strength is not another graph"
    assert pair.compiled.compiled
    assert psnr(first, pair.wanted(one)) >= 50 and psnr(second, pair.wanted(two)) >= 50
    assert torch.equal(base, pair.wanted())


def test_the_number_of_loras_is_a_graph_once(pair: Pair, make: Callable[..., Path]) -> None:
    uses = [use(make(seed, strength=0.3), 0.5) for seed in range(4)]
    for count in (1, 2, 3, 4, 0):
        pair.paint(*uses[:count])
    made = pair.graphs
    for chosen in (uses[2:], uses[:1], uses[::-1], uses[1:], []):
        got = pair.paint(*chosen)
        assert psnr(got, pair.wanted(*chosen)) >= 50
    assert pair.graphs == made


def test_ranks_are_filled_up(pair: Pair, make: Callable[..., Path]) -> None:
    """Narrower and wider ones in turn; a rank beyond all before it is new once, and those there are drawn as before."""
    narrow, wide = use(make(1, rank=2)), use(make(2, rank=16))
    first = pair.paint(narrow)
    made = pair.graphs
    assert psnr(pair.paint(wide), pair.wanted(wide)) >= 50
    assert torch.equal(pair.paint(narrow), first)
    assert pair.graphs == made
    widest = use(make(3, rank=40, strength=0.2))
    layout = pair.adapters.layout
    assert psnr(pair.paint(widest), pair.wanted(widest)) >= 50
    assert pair.graphs > made and pair.adapters.layout == layout + 1
    made = pair.graphs
    assert psnr(pair.paint(narrow), first) >= 50, "zeros may be added in another order"
    pair.paint(widest)
    pair.paint(wide)
    assert pair.graphs == made


def test_layers_of_one_lora_are_not_left_to_the_next(pair: Pair, make: Callable[..., Path]) -> None:
    """One has attention only, the other MLPs only: whatever the first had must be zero in the second."""
    heads, tails = use(make(1, only=attention)), use(make(2, only=mlp))
    pair.paint(heads)
    both = pair.paint(tails)
    made = pair.graphs
    assert psnr(both, pair.wanted(tails)) >= 50
    assert psnr(pair.paint(heads), pair.wanted(heads)) >= 50
    assert torch.equal(pair.paint(tails), both)
    assert psnr(pair.paint(heads, tails), pair.wanted(heads, tails)) >= 50
    assert pair.graphs == made + 1, "layers grow once; then only the second LoRA in a stack is new"


def test_only_one_block_trained(pair: Pair, make: Callable[..., Path]) -> None:
    first_only = use(make(1, only=lambda name: name.startswith("transformer_blocks.0.") and attention(name)))
    other = use(make(2, only=attention))
    got = pair.paint(first_only)
    made = pair.graphs
    assert psnr(got, pair.wanted(first_only)) >= 50 and differ(got, pair.wanted())
    assert psnr(pair.paint(other), pair.wanted(other)) >= 50
    assert pair.graphs == made, "all blocks have the same slots, so they share a graph"


def test_alpha_counts_by_the_files_own_rank(pair: Pair, make: Callable[..., Path]) -> None:
    """Filled up to 16, a rank of 4 with alpha 2 is still one half."""
    half = use(make(1, rank=4, alpha=2.0))
    assert psnr(pair.paint(half), pair.wanted(half)) >= 50
    assert differ(pair.paint(half), pair.paint(dataclasses.replace(half, scale=0.5)))


def test_modulation_layers_and_strengths_of_each_row(pair: Pair, make: Callable[..., Path]) -> None:
    """The strength × seed grid: layers of one vector per row too."""
    file = make(1, only=lambda name: blocks(name) or "_mod.1" in name)
    strengths = [-1.0, 0.0, 0.5, 1.0]
    rows = [
        dataclasses.replace(ROW, key=f"row{index}", seed=index, loras=(use(file, scale),))
        for index, scale in enumerate(strengths)
    ]
    together = draw(pair.compiled, rows, Silent())
    made = pair.graphs
    for row in rows:
        alone = draw(pair.compiled, [row], Silent())[row.key]
        assert psnr(together[row.key], alone) >= 50
        assert psnr(alone, draw(pair.plain, [row], Silent())[row.key]) >= 50
    assert torch.equal(together["row1"], pair.wanted(seed=1)), "at 0 it is the base, bit for bit"
    assert pair.graphs <= made + 1


@torch.no_grad()
def test_rows_that_share_a_forward_have_their_own_strengths(pair: Pair, make: Callable[..., Path]) -> None:
    """On a GPU rows go through together; here the transformer is asked so by hand."""
    file = make(1, only=lambda name: blocks(name) or "_mod.1" in name)
    family: Any = pair.compiled.family
    rows = [dataclasses.replace(ROW, key=str(scale), loras=(use(file, scale),)) for scale in (-0.5, 1.0)]
    state = family.begin(rows, [family.encode(row) for row in rows])

    def forward(chosen: slice) -> torch.Tensor:
        pair.adapters.apply(state.loras, [row.lora_scales for row in state.rows[chosen]])
        answer: torch.Tensor = family._pipe.transformer(
            hidden_states=state.latents[chosen],
            timestep=torch.ones(2, dtype=state.latents.dtype)[chosen],
            encoder_hidden_states=state.embeds[chosen],
            encoder_hidden_states_mask=state.mask[chosen],
            img_shapes=[[(1, 4, 4)]] * len(state.rows[chosen]),
            return_dict=False,
        )[0]
        return answer

    together = forward(slice(0, 2))
    alone = [forward(slice(index, index + 1)) for index in range(2)]
    assert psnr(together, torch.cat(alone)) >= 50
    assert psnr(together, torch.cat(alone[::-1])) < 40


def test_an_evicted_lora_leaves_nothing(checkpoint: Path, make: Callable[..., Path]) -> None:
    """Room for one: the other goes, and no slot, active or not, still points to its weights."""
    files = [make(1), make(2)]
    torch._dynamo.reset()
    probe = make_pair(checkpoint)
    probe.paint(use(files[0]))
    pair = make_pair(checkpoint, lora_cache_bytes=probe.adapters.bytes)
    base = pair.paint()
    pair.paint(use(files[0]))
    second = pair.paint(use(files[1]))
    assert pair.adapters.held == (use(files[1]).sha256,)
    assert psnr(second, pair.wanted(use(files[1]))) >= 50
    pair.adapters.evict(use(files[1]).sha256)
    assert pair.adapters.held == () and pair.adapters.bytes == 0
    sides = [
        weight
        for name, weight in pair.compiled.family._pipe.transformer.named_parameters()  # type: ignore[attr-defined]
        if "lora_" in name
    ]
    assert sides and not any(weight.any() for weight in sides)
    assert torch.equal(pair.paint(), base)
    with pytest.raises(LoraRefused, match="the stack takes"):
        pair.paint(use(files[0]), use(files[1]))


def test_a_file_that_is_refused_changes_nothing(pair: Pair, make: Callable[..., Path], tmp_path: Path) -> None:
    good = use(make(1))
    wanted = pair.paint(good)
    weights = make_weights(pair.adapters, seed=3, only=attention)
    broken = save(tmp_path, {key: tensor * float("nan") for key, tensor in weights.items()})
    with pytest.raises(LoraRefused, match="NaN"):
        pair.paint(use(broken))
    assert torch.equal(pair.paint(good), wanted)
