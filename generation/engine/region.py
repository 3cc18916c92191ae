"""A rectangle of a picture in fractions of its sides: what a mask without a file leaves to be drawn anew."""

from __future__ import annotations

import re
from dataclasses import dataclass

LEAST = 0.1
"""Of a side: of the smallest picture (16 pixels) still a pixel is inside."""
_NUMBER = re.compile(r"[01]|[01]?\.\d{1,4}")


@dataclass(frozen=True, slots=True)
class Region:
    """From `left` and `top` to before `right` and `bottom`, each 0 to 1 of the picture's width or height.

    Raises ValueError, naming side and bound: it is at least `LEAST` wide and high, and leaves something outside.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        for name in ("left", "top", "right", "bottom"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name):g}")
        for low, high in (("left", "right"), ("top", "bottom")):
            if getattr(self, high) - getattr(self, low) < LEAST - 1e-9:
                bounds = f"{high} must be {low} and {LEAST:g} at least"
                raise ValueError(f"{bounds}, got {getattr(self, low):g} to {getattr(self, high):g}")
        if (self.left, self.top, self.right, self.bottom) == (0, 0, 1, 1):
            raise ValueError("covers the whole picture: something must be kept")

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read "left,top,right,bottom", such as "0.25,0.25,0.75,0.75". Raises ValueError."""
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 4 or not all(_NUMBER.fullmatch(part) for part in parts):
            raise ValueError('must be four numbers from 0 to 1: left, top, right, bottom, as in "0.25,0.25,0.75,0.75"')
        return cls(*map(float, parts))

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """In pixels of a picture of this size: left, top, right and bottom, the last two outside."""
        return (
            round(self.left * width),
            round(self.top * height),
            round(self.right * width),
            round(self.bottom * height),
        )

    def __str__(self) -> str:
        return f"{self.left:g},{self.top:g},{self.right:g},{self.bottom:g}"
