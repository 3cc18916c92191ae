"""A sheet of samples for the README: `python -m generation.engine.demo.sheet --out docs/images/demo-sheet.png`."""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from generation.engine.demo.evaluate import render
from generation.engine.demo.model import CHECKPOINT, load_pipeline

PROMPTS = (
    "a white house on the left of a meadow at night",
    "a red boat on the sea at sunset",
    "an orange tree in the snow",
    "a purple balloon over a meadow",
    "a yellow house in the desert at sunset",
    "a green tree on the right of the sea",
    "a blue house in the snow at night",
    "a pink balloon over the sea at sunset",
    "a big yellow star on a blue background",
    "a pink flower on a purple background",
    "a red heart in the top left on a white background",
    "a white star on a black background",
)
COLUMNS, SIDE, GAP, LABEL = 4, 256, 16, 26


def draw_sheet(folder: Path, *, seed: int = 7) -> Image.Image:
    """All of `PROMPTS`, drawn by the checkpoint in `folder`, each over its prompt."""
    pictures = render(load_pipeline(folder), PROMPTS, seeds=[seed] * len(PROMPTS))
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, rows * (SIDE + LABEL + GAP) + GAP), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for index, (prompt, picture) in enumerate(zip(PROMPTS, pictures, strict=True)):
        left = GAP + (index % COLUMNS) * (SIDE + GAP)
        top = GAP + (index // COLUMNS) * (SIDE + LABEL + GAP)
        sheet.paste(picture, (left, top))
        pen.text((left + SIDE // 2, top + SIDE + 8), prompt, fill=(70, 74, 84), font=font, anchor="ma")
    return sheet


def main() -> None:
    """Write the sheet as PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(args.checkpoint).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
