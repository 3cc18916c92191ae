"""What the thresholds of `release compare` stand on: how far the demo's golden pictures move when nothing is wrong, and
when something is.

    python -m benchmarks.golden

Harmless changes first (the same release twice, other batches, another bucket, the other precision, the other decoder),
then planted faults. For each the worst and the mildest of the golden cases by each measure.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import django
import numpy as np
from PIL import Image

from benchmarks.results import ROOT, keep, options_of, surroundings

CATALOG = ROOT / "deploy" / "models.toml"
Pictures = dict[str, bytes]


def make_rows(spec: Any, *, seed: int = 0, steps: int | None = None) -> list[Any]:
    """A row of the engine for each shipped case of the demo; `seed` is added to its own."""
    from generation.engine.request import PassRow
    from generation.releases.compare.shipped import read_shipped

    return [
        PassRow(
            key=case.slug, prompt=case.prompt, width=spec.default_width, height=spec.default_height,
            num_inference_steps=steps or spec.default_steps, seed=case.seed + seed,
        )
        for case in read_shipped() if case.model == "demo" and not case.starts_from
    ]  # fmt: skip


def draw(model: Any, rows: Sequence[Any], *, together: bool = False) -> Pictures:
    """Every row's picture as a PNG file, each alone in its pass unless `together`. A row that fails has none."""
    from generation.engine.nohooks import NoHooks
    from generation.engine.run import run_pass
    from generation.engine.tail import Tail

    found: Pictures = {}
    tail = Tail(model)

    def take(result: Any) -> None:
        if result.picture is not None:
            found[result.key] = result.picture.file.data

    for group in [rows] if together else [[row] for row in rows]:
        outcome = run_pass(model, group, NoHooks())
        for row in group:
            if (latents := outcome.row(row.key).latents) is not None:
                tail.submit(latents, take)
    tail.drain(None)
    tail.close(60)
    return found


def compare(before: Pictures, after: Pictures) -> dict[str, Any]:
    """Worst and mildest of each measure over the cases, and what the thresholds say of each."""
    from generation.enums import Tolerance
    from generation.releases.compare.judge import judge_case
    from generation.releases.compare.measures import measure, read_frame
    from generation.releases.compare.side import Drawn

    said = {
        tolerance.value: Counter(
            judge_case(Drawn(data=after[key]), Drawn(data=before[key]), tolerance=tolerance).verdict.value
            for key in after
        )
        for tolerance in (Tolerance.CLOSE, Tolerance.LOOSE)
    }

    distances = [measure(read_frame(before[key]), read_frame(after[key])) for key in before if key in after]
    if not distances:
        return {"failed": len(before)}
    return {
        "failed": len(before) - len(distances),
        "ssim": [round(min(one.ssim for one in distances), 4), round(max(one.ssim for one in distances), 4)],
        "bits": [max(one.bits for one in distances), min(one.bits for one in distances)],
        "colour": [round(max(one.colour for one in distances), 2), round(min(one.colour for one in distances), 2)],
        "verdicts": said,
        "same_bytes": sum(before[key] == after.get(key) for key in before),
    }


def harmless(spec: Any, load: Callable[..., Any]) -> dict[str, Pictures]:
    """What a release may change without anybody noticing."""
    import torch

    from generation.engine import loader

    rows = make_rows(spec)
    found = {"the same release, loaded again": draw(load(spec), rows)}
    found["six pictures in one pass"] = draw(load(spec), rows, together=True)
    found["another text-length bucket"] = draw(load(replace(spec, length_buckets=(256, 512))), rows)
    found["one thread less"] = with_threads(1, lambda: draw(load(spec), rows))
    found["the VAE as the pipeline has it"] = draw(load(spec, exact_decode=True), rows)
    other = torch.float32 if str(load(spec).dtype) == "bfloat16" else torch.bfloat16
    before, loader.pick_dtype = loader.pick_dtype, lambda target: (other, "the other one")
    try:
        found[f"{str(other).removeprefix('torch.')} instead"] = draw(load(spec), rows)
    finally:
        loader.pick_dtype = before
    return found


def with_threads(n: int, call: Callable[[], Pictures]) -> Pictures:
    """The call with so many threads of torch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return call()
    finally:
        torch.set_num_threads(before)


def faulty(spec: Any, load: Callable[..., Any], before: Pictures) -> dict[str, Pictures]:
    """What a broken release does."""
    rows = make_rows(spec)
    found = {"another seed": draw(load(spec), make_rows(spec, seed=1000))}
    found["three steps instead of four"] = draw(load(spec), make_rows(spec, steps=3))
    found["another schedule (shift 3)"] = draw(load(replace(spec, scheduler={"shift": 3.0})), rows)
    shifted = [replace(row, prompt=rows[at - 1].prompt) for at, row in enumerate(rows)]
    found["each prompt another case's"] = draw(load(spec), shifted)
    for part, share in (("transformer", 0.02), ("transformer", 0.2), ("vae", 0.2), ("text_encoder", 0.2)):
        model = load(spec)
        disturb(model.family._vae if part == "vae" else getattr(model.family._pipe, part), share)
        found[f"{part}: weights with {share:.0%} of noise"] = draw(model, rows)
    found["one block of the transformer left out"] = draw(without_block(load(spec)), rows)
    found["red and blue changed over"] = edit(before, lambda pixels: pixels[..., ::-1])
    found["noise of 10 of 255"] = edit(
        before, lambda pixels: pixels + np.random.default_rng(1).normal(0, 10, pixels.shape)
    )
    found["10 % brighter"] = edit(before, lambda pixels: pixels * 1.1)
    found["one pixel to the right"] = edit(before, lambda pixels: np.roll(pixels, 1, axis=1))
    found["mirrored"] = edit(before, lambda pixels: pixels[:, ::-1])
    found["seams between tiles"] = edit(before, cut_tiles)
    return found


def disturb(module: Any, share: float) -> None:
    """Add noise to every matrix, by its own standard deviation."""
    import torch

    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=generator) * share * weight.float().std()
                weight.add_(noise.to(weight.dtype))


def without_block(model: Any) -> Any:
    """The third block hands on what it gets."""
    blocks = model.family._pipe.transformer.transformer_blocks
    blocks[2].forward = lambda **kw: (kw["encoder_hidden_states"], kw["hidden_states"])
    return model


def add_noise(pixels: Any) -> Any:
    """Of every channel by itself."""
    return pixels + np.random.default_rng(1).normal(0, 10, pixels.shape)


def cut_tiles(pixels: Any) -> Any:
    """A decoder that works in tiles and does not blend them: each second tile is darker."""
    found = pixels.copy()
    for y in range(0, pixels.shape[0], 64):
        for x in range((y // 64 % 2) * 64, pixels.shape[1], 128):
            found[y : y + 64, x : x + 64] *= 0.93
    return found


def edit(pictures: Pictures, change: Callable[[Any], Any]) -> Pictures:
    """The same pictures after a change of their pixels."""
    found = {}
    for key, data in pictures.items():
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float64)
        out = io.BytesIO()
        Image.fromarray(np.clip(np.round(change(pixels)), 0, 255).astype(np.uint8)).save(out, "PNG")
        found[key] = out.getvalue()
    return found


def main(arguments: list[str]) -> None:
    parser = options_of("golden", __doc__)
    parser.add_argument("--few", action="store_true", help="one change and one fault only: to see that it runs")
    options = parser.parse_args(arguments)
    found = surroundings()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
    os.environ.setdefault("DATABASE_URL", "postgresql://studio_web@/nobody-asks")  # for the enums alone
    django.setup()
    from generation.engine.catalog import read_catalog
    from generation.engine.loader import load_model

    spec = next(spec for spec in read_catalog(CATALOG) if spec.slug == "demo")
    model = load_model(spec)
    before = draw(model, make_rows(spec))
    if options.few:
        named = {
            "harmless": {"the same release, loaded again": draw(load_model(spec), make_rows(spec))},
            "faults": {"mirrored": edit(before, lambda pixels: pixels[:, ::-1])},
        }
    else:
        named = {"harmless": harmless(spec, load_model), "faults": faulty(spec, load_model, before)}
    result = {
        **found,
        "dtype": model.dtype,
        "hardware": model.device.key,
        "cases": len(before),
        **{
            kind: {name: compare(before, pictures) for name, pictures in group.items()} for kind, group in named.items()
        },
    }
    keep(result, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
