"""What the verdicts on golden pictures that start from pictures stand on: the demo models' shipped cases, drawn by the
true engine as they should be, and with faults in that step alone.

    python -m benchmarks.goldenstarts

Both sides start from the same picture. For each change the worst case by each measure, and what `release compare` says.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from PIL import Image

from benchmarks.golden import CATALOG, Pictures, disturb, draw, with_threads
from benchmarks.results import keep, options_of, surroundings

if TYPE_CHECKING:
    from generation.releases.compare.shipped import ShippedCase

MODELS = ("demo", "demo-portrait")
Change = Callable[[Any], Any]
"""Of a row."""


@dataclass(frozen=True)
class Scene:
    """One model's cases that start from a picture, with their rows and the pictures."""

    spec: Any
    cases: Sequence[ShippedCase]
    rows: Sequence[Any]
    starts: Pictures
    before: Pictures


def stage(spec: Any, model: Any, folder: Path) -> Scene:
    """Draw what the cases start from, and then the cases."""
    from generation.engine.region import Region
    from generation.releases.compare.measures import draw_mask
    from generation.releases.compare.shipped import read_shipped

    shipped = [case for case in read_shipped() if case.model == spec.slug]
    cases = [case for case in shipped if case.starts_from]
    bases = draw(model, [make_row(spec, case) for case in shipped if not case.starts_from])
    rows = []
    for case in cases:
        image = store(bases[case.starts_from], folder, mode="RGB")
        size = {"width": spec.default_width, "height": spec.default_height}
        mask = store(draw_mask(Region.parse(case.mask), **size), folder, mode="L") if case.mask else None
        rows.append(make_row(spec, case, task=case.task, images=(image,), mask=mask, strength=case.strength))
    starts = {case.slug: bases[case.starts_from] for case in cases}
    return Scene(spec, cases, rows, starts, draw(model, rows))


def make_row(spec: Any, case: ShippedCase, **started: Any) -> Any:
    """A row of the engine."""
    from generation.engine.request import PassRow

    return PassRow(
        key=case.slug, prompt=case.prompt, width=spec.default_width, height=spec.default_height,
        num_inference_steps=spec.default_steps, seed=case.seed, **started,
    )  # fmt: skip


def store(data: bytes, folder: Path, *, mode: str) -> Any:
    """An input as the studio keeps it."""
    from generation.engine.request import InputPicture

    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert(mode).save(out, "PNG")
    sha256 = hashlib.sha256(out.getvalue()).hexdigest()
    path = folder / f"{sha256}.png"
    path.write_bytes(out.getvalue())
    return InputPicture(path=str(path), sha256=sha256)


def changes(scene: Scene, model: Any, load: Callable[..., Any], folder: Path) -> Iterator[tuple[str, Pictures]]:
    """By name, what the same cases become: nothing wrong first, then what a release may break."""
    rows, spec = scene.rows, scene.spec
    full = store(white(spec.default_width, spec.default_height), folder, mode="L")
    other = {case.slug: store(scene.before[case.slug], folder, mode="RGB") for case in scene.cases}
    yield "the same release, loaded again", draw(load(spec), rows)
    yield "all in one pass", draw(model, rows, together=True)
    yield "one thread less", with_threads(1, lambda: draw(model, rows))
    yield "the other precision", draw(load_otherwise(spec, load), rows)
    for less in (-0.2, -0.1, -0.05, 0.05, 0.1):
        yield f"strength {less:+g}", draw(model, edit(rows, strengthen(less)))
    yield "strength is ignored (1)", draw(model, edit(rows, lambda row: replace(row, strength=1.0)))
    yield "three steps instead of four", draw(model, edit(rows, lambda row: replace(row, num_inference_steps=3)))
    masked = [row for row in rows if row.mask is not None]
    yield "the mask is ignored", draw(model, edit(masked, lambda row: replace(row, mask=full)))
    moved = {case.slug: store(shift(case, spec), folder, mode="L") for case in scene.cases if case.mask}
    yield "the mask is 8 pixels off", draw(model, edit(masked, lambda row: replace(row, mask=moved[row.key])))
    unmasked = {"task": "image-to-image", "mask": None}
    yield "inpaint becomes image to image", draw(model, edit(masked, lambda row: replace(row, **unmasked)))
    text = {"task": "text-to-image", "mask": None, "images": (), "strength": 1.0}
    yield "the picture is ignored", draw(model, edit(rows, lambda row: replace(row, **text)))
    yield "another picture to start from", draw(model, edit(rows, lambda row: replace(row, images=(other[row.key],))))
    yield "another seed", draw(model, edit(rows, lambda row: replace(row, seed=row.seed + 1000)))
    noisy = load(spec)
    disturb(noisy.family._pipe.transformer, 0.2)
    yield "transformer: weights with 20% of noise", draw(noisy, rows)


def load_otherwise(spec: Any, load: Callable[..., Any]) -> Any:
    """The model in FP32 where this machine takes BF16, and the other way round."""
    import torch

    from generation.engine import loader

    before = loader.pick_dtype
    other = torch.float32 if str(load(spec).dtype) == "bfloat16" else torch.bfloat16
    loader.pick_dtype = lambda target: (other, "the other one")
    try:
        return load(spec)
    finally:
        loader.pick_dtype = before


def edit(rows: Sequence[Any], change: Change) -> list[Any]:
    """The rows after a change."""
    return [change(row) for row in rows]


def strengthen(more: float) -> Change:
    """Another strength, as far as there is one."""
    return lambda row: replace(row, strength=round(min(1.0, row.strength + more), 3))


def white(width: int, height: int) -> bytes:
    """A mask of everything."""
    out = io.BytesIO()
    Image.new("L", (width, height), 255).save(out, "PNG")
    return out.getvalue()


def shift(case: ShippedCase, spec: Any) -> bytes:
    """Its mask eight pixels to the left, or to the right at the picture's edge."""
    from generation.engine.region import Region

    left, top, right, bottom = Region.parse(case.mask).pixels(spec.default_width, spec.default_height)
    by = -8 if left >= 8 else 8
    mask, out = Image.new("L", (spec.default_width, spec.default_height), 0), io.BytesIO()
    mask.paste(255, (left + by, top, right + by, bottom))
    mask.save(out, "PNG")
    return out.getvalue()


def judge(scene: Scene, after: Pictures) -> dict[str, Any]:
    """The worst of each measure, and verdicts with their reasons."""
    from generation.domain.request import GenerationRequest
    from generation.engine.region import Region
    from generation.releases.compare.judge import judge_case
    from generation.releases.compare.side import Drawn
    from generation.releases.compare.wanted import Start, Wanted

    found: dict[str, Any] = {}
    for case in scene.cases:
        if case.slug not in after:
            continue
        region = Region.parse(case.mask) if case.mask else None
        base = Wanted(
            slug="", position=0, model="", tolerance="", request=GenerationRequest(model="", prompt=""), params={}
        )
        start = Start(base=base, region=region, picture=scene.starts[case.slug])
        new, old = Drawn(data=after[case.slug]), Drawn(data=scene.before[case.slug])
        judged = judge_case(new, old, tolerance=case.tolerance, start=start)
        distance = judged.distance
        found[case.slug] = {
            "verdict": judged.verdict.value,
            "reasons": [reason["code"] for reason in judged.reasons],
            **({"ssim": round(distance.ssim, 4), "bits": distance.bits, "colour": round(distance.colour, 2)}
               if distance else {}),
        }  # fmt: skip
    return found


def summarize(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Over the cases of all models."""
    measured = [case for case in cases.values() if "ssim" in case]
    return {
        "verdicts": dict(Counter(case["verdict"] for case in cases.values())),
        "outside": sum("outside" in case["reasons"] for case in cases.values()),
        "ssim": min((case["ssim"] for case in measured), default=None),
        "bits": max((case["bits"] for case in measured), default=None),
        "colour": max((case["colour"] for case in measured), default=None),
        "cases": cases,
    }


def main(arguments: list[str]) -> None:
    parser = options_of("goldenstarts", __doc__)
    parser.add_argument("--few", action="store_true", help="one model and two changes only: to see that it runs")
    options = parser.parse_args(arguments)
    result = surroundings()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qwenstudio.settings")
    os.environ.setdefault("DATABASE_URL", "postgresql://studio_web@/nobody-asks")  # for the enums alone
    django.setup()
    from generation.engine.catalog import read_catalog
    from generation.engine.loader import load_model

    named: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="qwenstudio-golden-") as folder:
        for spec in read_catalog(CATALOG):
            if spec.slug not in MODELS[: 1 if options.few else None]:
                continue
            model = load_model(spec)
            result |= {"dtype": model.dtype, "hardware": model.device.key}
            scene = stage(spec, model, Path(folder))
            for name, pictures in changes(scene, model, load_model, Path(folder)):
                named.setdefault(name, {}).update(judge(scene, pictures))
                if options.few and len(named) == 2:
                    break
    result["changes"] = {name: summarize(cases) for name, cases in named.items()}
    keep(result, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
