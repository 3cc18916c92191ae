"""Qwen-Image and Z-Image at full size with random weights on a GPU, and the demo model anywhere.

    python -m benchmarks.engine [--models qwen-image z-image demo] [--device cuda] [--requests 64] [--rounds 3]
    python -m benchmarks.engine --models qwen-image --parts speed floor   # some of it; `queue` is B3

For 1024 px and 4 and 8 steps: seconds per picture and memory; B1, share of the floor of its own products and attention
measured in this run; B2, ratio to diffusers' pipeline, eager and compiled, in interleaved rounds (over 1: we are
faster); B3, the transformer's time in the wall's over mixed requests that wait in a studio's queue. Without a GPU the
full sizes are "not measured", and the demo model runs on the CPU, B1 apart. `--scale tiny` is for the tests.

The result is written after each part, so that a run which is ended early keeps what it has. A part that fails says so
in its place, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engine.queued import KINDS
from benchmarks.engine.report import NOT_MEASURED, Report
from benchmarks.results import keep, options_of, surroundings

PARTS = ("queue", "speed", "floor", "pictures", "decoder", "batches")
TARGETS = {"floor_share": 1 / 1.45, "diffusers_eager": 1.6, "diffusers_compiled": 1.15, "transformer_share": 0.90}


def main() -> int:
    """Measure, print, keep."""
    options = read_options()
    if options.cache:  # torch reads it when it first compiles
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(options.cache.resolve())
    report = Report({**surroundings(), **describe(options), "targets": TARGETS, "models": {}}, out=options.out)
    with tempfile.TemporaryDirectory(prefix="qwenstudio-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run under another account
        measure_all(options, folder, report)
    keep(report.result, options.out)
    print_table(report.models)
    return 1 if report.failures else 0


def read_options() -> argparse.Namespace:
    parser = options_of("engine", __doc__)
    parser.add_argument("--models", nargs="+", choices=("qwen-image", "z-image", "demo"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured of each")
    parser.add_argument("--scale", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", help="cuda or cpu (default: CUDA where there is one)")
    parser.add_argument("--requests", type=int, default=64, help="of B3; 0 leaves it out")
    parser.add_argument(
        "--warm", type=int, default=KINDS, help="requests drawn before B3 begins, so that all is compiled"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=4, help="of each way in a round; more show more overlap")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--backend", default="", help="the compiler's (default: inductor on a GPU, none on a CPU)")
    parser.add_argument("--cache", type=Path, help="folder for compiled code, which then serves all parts and runs")
    options = parser.parse_args()
    options.models = options.models or ["qwen-image", "z-image", "demo"]
    return options


def measure_all(options: argparse.Namespace, folder: Path, report: Report) -> None:
    """By model. B3 comes first: its worker needs the memory that this process takes afterwards."""
    from generation.engine.device import pick_device  # imports torch

    device = pick_device(options.device)
    tiny, on_gpu = options.scale == "tiny", device.type == "cuda"
    chosen = [name for name in options.models if name == "demo" or tiny or on_gpu]
    report.models.update({name: {} if name in chosen else NOT_MEASURED for name in options.models})
    if options.requests and chosen and "queue" in options.parts:
        measure_queues(chosen, options, folder, report)
    if set(options.parts) - {"queue"}:
        for name in chosen:
            measure_model(name, options, report, device=device)


def measure_queues(names: list[str], options: argparse.Namespace, folder: Path, report: Report) -> None:
    """B3 of each, in one studio."""
    import torch

    from benchmarks.engine.queued import measure_queue
    from tests.proofs.studio import own_database

    threads = None if torch.cuda.is_available() else torch.get_num_threads()
    with report.part(names[0], "servers", "B3"), own_database(folder / "servers") as services:
        for name in names:
            with report.part(name, "queue", "B3"):
                report.models[name]["B3"] = measure_queue(
                    services, folder, spec_of(name, options), requests=options.requests, warm=options.warm,
                    scale=options.scale, threads=threads, cache=options.cache,
                )  # fmt: skip


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


def measure_model(name: str, options: argparse.Namespace, report: Report, *, device: Any) -> None:
    """Everything but B3."""
    import gc

    import torch

    found = report.models[name]
    with report.part(name, "build", "build"):
        bench = make_bench(name, options, device=device)
        found |= describe_model(bench)
        report.save()
        for steps in options.steps:
            measure_steps(name, bench, options, report, steps=steps)
        measure_rest(name, bench, options, report)
    bench = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def describe_model(bench: Any) -> dict[str, Any]:
    """What the figures of a model are of."""
    return {
        "dtype": bench.model.dtype,
        "hardware": bench.model.device.key,
        "side": bench.model.spec.default_width,
        "compiled": bench.model.compiled,
        "parameters": {
            part: sum(weight.numel() for weight in getattr(bench.pipe, part).parameters())
            for part in ("transformer", "text_encoder", "vae")
        },
        "steps": {},
    }


def measure_steps(name: str, bench: Any, options: argparse.Namespace, report: Report, *, steps: int) -> None:
    """B2 and B1 at a number of steps, and how far the pictures are from each other."""
    from benchmarks.engine import compare

    side = bench.model.spec.default_width
    one: dict[str, Any] = {}
    report.models[name]["steps"][str(steps)] = one

    def keep_round(found: dict[str, Any]) -> None:
        one.update(found)
        report.save()

    if "speed" in options.parts:
        with report.part(name, f"speed {steps}", "speed", at=one):
            compare.compare_speed(
                bench, side=side, steps=steps, rounds=options.rounds, pictures=options.pictures, keep=keep_round
            )
    if "floor" in options.parts and name != "demo":
        with report.part(name, f"floor {steps}", "B1", at=one):
            floor = compare.measure_floor(bench, side=side, steps=steps)
            taken = one.get("seconds_per_picture")
            one["B1"] = {"floor": floor} | ({"share": round(floor["seconds"] / taken, 4)} if taken else {})
    if "pictures" in options.parts:
        with report.part(name, f"pictures {steps}", "psnr_db", at=one):
            one["psnr_db"] = compare.compare_pictures(bench, side=side, steps=steps)


def measure_rest(name: str, bench: Any, options: argparse.Namespace, report: Report) -> None:
    """Batches, and the single-frame decoder where the family has one."""
    from benchmarks.engine import compare

    spec, found = bench.model.spec, report.models[name]
    if "decoder" in options.parts and spec.family == "qwen-image":
        with report.part(name, "decoder", "decoder"):
            found["decoder"] = compare.compare_decoders(bench, exact_decoder(bench), side=spec.default_width)
    if "batches" in options.parts:
        sides = [spec.default_width // 2, spec.default_width]
        with report.part(name, "batches", "batches"):
            found["batches"] = compare.compare_batches(bench, sides=sides, steps=min(options.steps), batches=(1, 2, 4))


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
        busy = found.get("B3", {}).get("transformer_share", "-")
        for steps, one in (found.get("steps") or {"-": {}}).items():
            ratios = one.get("ratio_to_diffusers", {})
            row = [ratio["median"] if isinstance(ratio, dict) else "-" for ratio in ratios.values()] or ["-", "-"]
            taken, peak = one.get("seconds_per_picture"), one.get("peak_bytes")
            print(
                f"{name:<12}{steps:>6}{f'{taken:.3f}' if taken else '-':>11}{f'{peak / 1e9:.1f}' if peak else '-':>8}"
                f"{one.get('B1', {}).get('share', '-'):>10}{row[0]:>8}{row[1]:>10}{busy:>7}"
            )


if __name__ == "__main__":
    sys.exit(main())
