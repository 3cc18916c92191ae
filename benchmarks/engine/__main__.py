"""Qwen-Image and Z-Image at full size with random weights on a GPU, and the demo model anywhere.

    python -m benchmarks.engine [--models qwen-image z-image demo] [--device cuda] [--requests 64] [--rounds 3]

For 1024 px and 4 and 8 steps: seconds per picture and memory; B1, share of the floor of its own products and attention
measured in this run; B2, ratio to diffusers' pipeline, eager and compiled, in interleaved rounds (over 1: we are
faster); B3, the transformer's time in the wall's over mixed requests that wait in a studio's queue. Without a GPU the
full sizes are "not measured", and the demo model runs on the CPU, B1 apart. `--scale tiny` is for the tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import keep, options_of, surroundings

NOT_MEASURED = "not measured"
TARGETS = {"floor_share": 1 / 1.45, "diffusers_eager": 1.6, "diffusers_compiled": 1.15, "transformer_share": 0.90}


def main() -> int:
    """Measure, print, keep."""
    options = read_options()
    before = surroundings()
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        models = measure_all(options, folder)
    result = {**before, **describe(options), "targets": TARGETS, "models": models}
    keep(result, options.out)
    print_table(models)
    return 0


def read_options() -> argparse.Namespace:
    parser = options_of("engine", __doc__)
    parser.add_argument("--models", nargs="+", choices=("qwen-image", "z-image", "demo"))
    parser.add_argument("--scale", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", help="cuda or cpu (default: CUDA where there is one)")
    parser.add_argument("--requests", type=int, default=64, help="of B3; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=4, help="of each way in a round; more show more overlap")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--backend", default="", help="the compiler's (default: inductor on a GPU, none on a CPU)")
    options = parser.parse_args()
    options.models = options.models or ["qwen-image", "z-image", "demo"]
    return options


def measure_all(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """By model. B3 comes first: its worker needs the memory that this process takes afterwards."""
    from generation.engine.device import pick_device  # imports torch

    device = pick_device(options.device)
    tiny, on_gpu = options.scale == "tiny", device.type == "cuda"
    chosen = [name for name in options.models if name == "demo" or tiny or on_gpu]
    queues = measure_queues(chosen, options, folder) if options.requests and chosen else {}
    found: dict[str, Any] = {}
    for name in options.models:
        if name not in chosen:
            found[name] = NOT_MEASURED
            continue
        found[name] = measure_model(name, options, device=device) | {"B3": queues.get(name, NOT_MEASURED)}
    return found


def measure_queues(names: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """B3 of each, in one studio."""
    import torch

    from benchmarks.engine.queued import measure_queue
    from tests.proofs.studio import own_database

    threads = None if torch.cuda.is_available() else torch.get_num_threads()
    with own_database(folder / "servers") as services:
        return {
            name: measure_queue(
                services, folder, spec_of(name, options), requests=options.requests, scale=options.scale,
                threads=threads,
            )
            for name in names
        }  # fmt: skip


def spec_of(name: str, options: argparse.Namespace) -> Any:
    """The demo's own entry, or one for random weights. Each model has a pool to itself."""
    import dataclasses

    import torch

    from benchmarks.engine.checkpoints import make_spec
    from benchmarks.results import ROOT
    from generation.engine.catalog import read_catalog

    compile = bool(options.backend) or torch.cuda.is_available()
    if name == "demo":
        spec = next(spec for spec in read_catalog(ROOT / "deploy" / "models.toml") if spec.slug == "demo")
    else:
        spec = make_spec(name, options.scale)
    return dataclasses.replace(spec, pool=f"bench-{name}", compile=compile)


def measure_model(name: str, options: argparse.Namespace, *, device: Any) -> dict[str, Any]:
    """Everything but B3."""
    import gc

    import torch

    from benchmarks.engine import compare

    bench = make_bench(name, options, device=device)
    spec = bench.model.spec
    found: dict[str, Any] = {
        "dtype": bench.model.dtype,
        "hardware": bench.model.device.key,
        "side": spec.default_width,
        "compiled": bench.model.compiled,
        "parameters": {
            part: sum(weight.numel() for weight in getattr(bench.pipe, part).parameters())
            for part in ("transformer", "text_encoder", "vae")
        },
        "steps": {},
    }
    for steps in options.steps:
        one = compare.compare_speed(
            bench, side=spec.default_width, steps=steps, rounds=options.rounds, pictures=options.pictures
        )
        one["psnr_db"] = compare.compare_pictures(bench, side=spec.default_width, steps=steps)
        one["B1"] = NOT_MEASURED
        if name != "demo":
            floor = compare.measure_floor(bench, side=spec.default_width, steps=steps)
            one["B1"] = {"floor": floor, "share": round(floor["seconds"] / one["seconds_per_picture"], 4)}
        found["steps"][str(steps)] = one
    sides = [spec.default_width // 2, spec.default_width]
    found["batches"] = compare.compare_batches(bench, sides=sides, steps=min(options.steps), batches=(1, 2, 4))
    if spec.family == "qwen-image":
        found["decoder"] = compare.compare_decoders(bench, exact_decoder(bench), side=spec.default_width)
    del bench
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found


def exact_decoder(bench: Any) -> Any:
    """The VAE as the pipeline has it."""
    import copy

    from generation.engine.pipelines.qwen_image_vae import QwenImageDecoder

    return QwenImageDecoder(copy.deepcopy(bench.pipe.vae), factor=int(bench.pipe.vae_scale_factor), exact=True)


def make_bench(name: str, options: argparse.Namespace, *, device: Any) -> Any:
    """The model, and diffusers' pipeline beside it."""
    from benchmarks.engine.checkpoints import build_pipeline
    from benchmarks.engine.compare import Bench, keep_pipeline
    from generation.engine.compiled import Compiler
    from generation.engine.device import pick_dtype
    from generation.engine.loader import build_model, find_checkpoint, load_pipeline

    spec = spec_of(name, options)
    dtype, _ = pick_dtype(device)
    if name == "demo":
        pipe = load_pipeline(find_checkpoint(spec, hub_offline=True), family=spec.family, dtype=dtype).to(device)
    else:
        pipe = build_pipeline(name, options.scale, device=device, dtype=dtype)
    kept = keep_pipeline(pipe, spec)
    compiler = Compiler(backend=options.backend or "inductor", on_cpu=bool(options.backend))
    return Bench(model=build_model(pipe, spec=spec, device=device, compiler=compiler), pipe=kept)


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """The device, and what the figures depend on beside the machine."""
    import torch

    from generation.engine.device import describe_device, pick_device

    device = describe_device(str(pick_device(options.device)))
    return {
        "device": {"kind": device.kind, "name": device.name, "memory_bytes": device.memory_total},
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "scale": options.scale,
        "rounds": options.rounds,
        "pictures": options.pictures,
    }


def print_table(models: dict[str, Any]) -> None:
    """What a reader wants first."""
    print(f"{'model':<12}{'steps':>6}{'s/picture':>11}{'GB':>8}{'of floor':>10}{'eager':>8}{'compiled':>10}{'busy':>7}")
    for name, found in models.items():
        if found == NOT_MEASURED:
            print(f"{name:<12}  {NOT_MEASURED}")
            continue
        for steps, one in found["steps"].items():
            ratios = one["ratio_to_diffusers"]
            share = one["B1"] if one["B1"] == NOT_MEASURED else one["B1"]["share"]
            busy = found["B3"] if found["B3"] == NOT_MEASURED else found["B3"]["transformer_share"]
            row = [ratio["median"] if isinstance(ratio, dict) else "-" for ratio in ratios.values()]
            print(
                f"{name:<12}{steps:>6}{one['seconds_per_picture']:>11.3f}{one['peak_bytes'] / 1e9:>8.1f}"
                f"{'-' if share == NOT_MEASURED else share:>10}{row[0]:>8}{row[1]:>10}"
                f"{'-' if busy == NOT_MEASURED else busy:>7}"
            )


if __name__ == "__main__":
    sys.exit(main())
