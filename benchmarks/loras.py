"""What it costs to draw with another stack of user LoRAs than the pass before: is affinity in the claim worth it?

    python -m benchmarks.loras

On the demo checkpoints, with LoRAs of random numbers for every layer that may carry one. Passes of one picture with
stacks of one and two LoRAs: always the same one, two that take turns while both are in memory, and two of which only
one has room, so that every pass reads a file. Then what does not depend on the width of a model: setting the state of
as many layers as Qwen-Image has (60 blocks), and reading a large file (megabytes a second).

Times are those of the thread's own CPU, with one thread of torch: what else the machine does does not count.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT, keep, options_of, surroundings

CATALOG = ROOT / "deploy" / "models.toml"
RANK = 16
BLOCKS = 60  # of Qwen-Image


def make_lora(adapters: Any, folder: Path, *, seed: int, rank: int = RANK) -> Any:
    """A LoRA for all layers that may carry one, as a row names it."""
    import torch
    from safetensors.torch import save_file

    from generation.engine.request import LoraUse

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, (outputs, inputs) in adapters._layers.items():
        for side, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
            values = torch.randn(shape, generator=generator) * 0.02
            weights[f"transformer.{name}.{side}.weight"] = values.bfloat16()
    file = folder / f"{seed}.safetensors"
    save_file(weights, str(file))
    return LoraUse(path=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest(), scale=0.7)


def time_passes(model: Any, stacks: Sequence[tuple[Any, ...]], *, passes: int) -> list[float]:
    """Milliseconds of passes of one picture, stacks in their turn; the first round is not counted."""
    from generation.engine.nohooks import NoHooks
    from generation.engine.request import PassRow
    from generation.engine.run import run_pass

    spec, taken = model.spec, []
    for turn in range(passes + len(stacks)):
        row = PassRow(
            key=str(turn), prompt="a portrait with red hair", width=spec.default_width, height=spec.default_height,
            num_inference_steps=spec.default_steps, seed=turn, loras=stacks[turn % len(stacks)],
        )  # fmt: skip
        began = time.thread_time()
        (outcome,) = run_pass(model, [row], NoHooks()).rows
        if turn >= len(stacks):
            taken.append((time.thread_time() - began) * 1000)
        if outcome.error is not None:
            raise outcome.error
    return taken


def time_switches(adapters: Any, stacks: Sequence[tuple[Any, ...]], *, rounds: int) -> list[float]:
    """Milliseconds of setting every layer to the next stack: in memory, or read from its file where it was evicted."""
    taken = []
    for turn in range(rounds + len(stacks)):
        stack = stacks[turn % len(stacks)]
        began = time.thread_time()
        adapters.apply(stack, [tuple(use.scale for use in stack)])
        if turn >= len(stacks):
            taken.append((time.thread_time() - began) * 1000)
    return taken


def measure_model(slug: str, folder: Path, *, passes: int) -> dict[str, Any]:
    """One demo model: its pass, and what a switch adds to it."""
    from generation.engine.catalog import read_catalog
    from generation.engine.loader import load_model

    (spec,) = (spec for spec in read_catalog(CATALOG) if spec.slug == slug)
    model = load_model(spec, device="cpu")
    adapters = model.family.adapters
    folder.mkdir(parents=True, exist_ok=True)
    a, b, c, d = (make_lora(adapters, folder, seed=seed) for seed in range(4))
    found: dict[str, Any] = {"layers": len(adapters._layers), "lora_bytes": Path(a.path).stat().st_size}
    for size, pair in ((1, ((a,), (b,))), (2, ((a, b), (c, d)))):
        always = statistics.median(time_passes(model, pair[:1], passes=passes))
        turns = statistics.median(time_passes(model, pair, passes=passes))
        held = statistics.median(time_switches(adapters, pair, rounds=10 * passes))
        small = load_model(replace(spec, lora_cache_bytes=adapters.bytes // len(adapters.held) * size), device="cpu")
        read = statistics.median(time_switches(small.family.adapters, pair, rounds=passes))
        found[f"stacks of {size}"] = {
            "pass_ms": round(always, 2),
            "pass_by_turns_ms": round(turns, 2),
            "switch_held_ms": round(held, 3),
            "switch_read_ms": round(read, 2),
            "held_share": round(held / always, 5),
            "read_share": round(read / always, 4),
        }
    return found


def measure_depth(folder: Path, *, rounds: int) -> dict[str, Any]:
    """As many layers as Qwen-Image's, narrow: what `apply` costs is a loop over layers, whatever is in them."""
    import torch
    from diffusers import QwenImageTransformer2DModel

    from generation.engine.adapters import Adapters
    from generation.engine.lorarules import RULES

    torch.manual_seed(0)
    deep = QwenImageTransformer2DModel(
        num_layers=BLOCKS, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6), in_channels=16, out_channels=4,
    )  # fmt: skip
    adapters = Adapters(deep, rules=RULES["qwen-image"], most_bytes=10**9, max_rank=128)
    folder.mkdir(parents=True, exist_ok=True)
    a, b, c, d = (make_lora(adapters, folder, seed=seed, rank=4) for seed in range(4))
    held = time_switches(adapters, ((a, b), (c, d)), rounds=10 * rounds)
    adapters._most_bytes = adapters.bytes // 4
    for sha256 in adapters.held:
        adapters.evict(sha256)
    read = time_switches(adapters, ((a,), (b,)), rounds=min(rounds, 6))
    return {
        "layers": len(adapters._layers),
        "stacks of 2, switch_held_ms": round(statistics.median(held), 2),
        "stacks of 1, switch_read_ms": round(statistics.median(read), 1),
    }


def measure_reading(folder: Path, *, megabytes: int) -> dict[str, Any]:
    """Reading one large file as a worker does it: hash, header, numbers; its tensors lie in main memory afterwards."""
    import torch
    from torch import nn

    from generation.engine.adapters import Adapters
    from generation.engine.lorarules import RULES

    width = 3072  # Qwen-Image's
    rank = max(1, min(128, megabytes * 1_000_000 // (2 * 2 * width * 60)))
    holder = nn.Module()
    holder.transformer_blocks = nn.ModuleList()
    for _ in range(60):
        block, block.attn = nn.Module(), nn.Module()
        block.attn.to_q = nn.Linear(width, width, bias=False, device="meta")
        holder.transformer_blocks.append(block)
    holder.dtype = torch.bfloat16
    adapters = Adapters(holder, rules=RULES["qwen-image"], most_bytes=10**10, max_rank=128)
    folder.mkdir(parents=True, exist_ok=True)
    use = make_lora(adapters, folder, seed=0, rank=rank)
    size = Path(use.path).stat().st_size
    taken = []
    for _ in range(3):
        began = time.thread_time()
        adapters._read(use)
        taken.append(time.thread_time() - began)
    return {"megabytes": round(size / 1e6, 1), "mb_per_s": round(size / 1e6 / statistics.median(taken))}


def main(arguments: list[str]) -> None:
    parser = options_of("loras", __doc__)
    parser.add_argument("--passes", type=int, default=40)
    parser.add_argument("--megabytes", type=int, default=90)
    options = parser.parse_args(arguments)
    found = surroundings()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for slug in ("demo-portrait", "demo"):
            found[slug] = measure_model(slug, root / slug, passes=options.passes)
        found["as many layers as Qwen-Image"] = measure_depth(root / "deep", rounds=options.passes)
        found["reading"] = measure_reading(root / "large", megabytes=options.megabytes)
    keep(found, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
