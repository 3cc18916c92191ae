"""How often the demo model draws what was asked: `python -m generation.engine.demo.evaluate [--count 300]`.

Held-out combinations, never drawn in training, are rendered at 4 steps in BF16. A picture is right if it is nearer to
one of 8 jittered drawings of its own caption than to any of the drawings of all captions that differ from it in one
attribute: mean squared difference at 64 px. As control every picture is also judged by another picture's caption.
"""

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImagePipeline
from PIL import Image

from generation.engine.demo.captions import Style, caption
from generation.engine.demo.judge import Case, judge, shrink
from generation.engine.demo.model import CHECKPOINT, load_pipeline
from generation.engine.demo.specs import held_out

STEPS = 4


def render(
    pipe: QwenImagePipeline,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    width: int = 256,
    height: int = 256,
    batch: int = 10,
) -> list[Image.Image]:
    """One picture per prompt, each from its own seed."""
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), batch):
        part = slice(start, start + batch)
        pictures += pipe(
            prompt=list(prompts[part]),
            width=width,
            height=height,
            num_inference_steps=STEPS,
            true_cfg_scale=1.0,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds[part]],
        ).images
    return pictures


def evaluate(folder: Path, *, count: int, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Render and judge `count` held-out combinations; the counts and every wrong picture, ready for JSON."""
    specs = held_out(seed=seed, count=count)
    rng = random.Random(seed + 1)
    languages = ["en" if rng.random() < 0.6 else "zh" for _ in specs]
    prompts = [
        caption(spec, style=Style(language, full=True), rng=rng)
        for spec, language in zip(specs, languages, strict=True)
    ]
    began = time.monotonic()
    pictures = [shrink(p) for p in render(load_pipeline(folder, dtype=dtype), prompts, seeds=range(len(prompts)))]
    seconds = time.monotonic() - began
    cases = [Case(spec, pictures[k], pictures[(k + 1) % count], seed) for k, spec in enumerate(specs)]
    with get_context("spawn").Pool(min(4, os.cpu_count() or 1)) as workers:
        verdicts = workers.map(judge, cases, chunksize=4)
    wrong = [
        {"prompt": prompt, "asked": str(spec), "drawn": str(verdict.drawn)}
        for prompt, spec, verdict in zip(prompts, specs, verdicts, strict=True)
        if verdict.drawn != spec
    ]
    right, control_right = count - len(wrong), sum(verdict.control_passed for verdict in verdicts)
    return {
        "count": count,
        "right": right,
        "share_right": round(right / count, 4),
        "control_right": control_right,
        "control_share": round(control_right / count, 4),
        "wrong": wrong,
        "steps": STEPS,
        "dtype": str(dtype).removeprefix("torch."),
        "seed": seed,
        "prompts_zh": languages.count("zh"),
        "seconds_per_picture": round(seconds / count, 3),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }


def main() -> None:
    """Print the result as JSON, write it where asked, and fail where the model falls short."""
    parser = argparse.ArgumentParser(description="Judge the demo model on combinations it never saw.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    args = parser.parse_args()
    result = evaluate(args.checkpoint, count=args.count, seed=args.seed)
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    print(text, end="")
    if result["share_right"] < 0.95 or result["control_share"] > 0.10:
        raise SystemExit("the demo model falls short: at least 95 % right and at most 10 % of the control are wanted")


if __name__ == "__main__":
    main()
