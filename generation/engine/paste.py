"""Keeping what an inpainting keeps: pixels outside the mask come from the picture itself, not from the VAE."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image, ImageChops, ImageFilter

_SOFT = 1.2  # pixels: enough to hide the seam, and a stroke of four still shows


@dataclass(frozen=True, slots=True)
class Paste:
    """A picture (RGB) and its mask (L, 255 where it is drawn anew, else 0), both in the size that is drawn."""

    picture: Image.Image = field(repr=False)
    mask: Image.Image = field(repr=False)

    def onto(self, drawn: Image.Image) -> Image.Image:
        """`drawn` where the mask says so, soft on the inner side of its edge; every other pixel is the picture's."""
        soft = ImageChops.darker(self.mask, self.mask.filter(ImageFilter.GaussianBlur(_SOFT)))
        return Image.composite(drawn, self.picture, soft)
