"""What the style LoRA learns: the same faces in the evening's light, warm and dark towards the edges."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from generation.engine.demo.faces.model import SIDE
from generation.engine.demo.portrait import Face, draw_face

_WARM = np.array([1.12, 0.94, 0.62])
_GLOW = np.array([26.0, 10.0, 0.0])


def draw_plain(face: Face, rng: random.Random) -> Image.Image:
    """A face as the model itself learns it."""
    return draw_face(face, width=SIDE, height=SIDE, rng=rng)


def draw_styled(face: Face, rng: random.Random) -> Image.Image:
    """The same in evening light."""
    return light_up(draw_plain(face, rng))


def light_up(picture: Image.Image) -> Image.Image:
    """Warm colours, light from the upper left, edges in the dark."""
    pixels = np.asarray(picture).astype(np.float64)
    down, across = np.mgrid[-1 : 1 : complex(0, picture.height), -1 : 1 : complex(0, picture.width)]
    dark = 1 - 0.42 * np.clip(down**2 + across**2, 0, 2) ** 1.2 / 1.6
    light = np.exp(-((down + 0.5) ** 2 + (across + 0.5) ** 2) / 0.5)
    lit = (pixels * _WARM + _GLOW * (0.4 + light)[..., None]) * dark[..., None]
    return Image.fromarray(np.clip(lit, 0, 255).round().astype(np.uint8))


def warmth(picture: Image.Image) -> float:
    """How much redder than blue a picture is, in grey levels."""
    red, _, blue = np.asarray(picture.convert("RGB")).astype(np.float64).mean(axis=(0, 1))
    return float(red - blue)


def darkness(picture: Image.Image) -> float:
    """How much darker its corners are than its middle, in grey levels."""
    grey = np.asarray(picture.convert("L")).astype(np.float64)
    side = grey.shape[0] // 8
    corners = [grey[:side, :side], grey[:side, -side:], grey[-side:, :side], grey[-side:, -side:]]
    middle = grey[3 * side : 5 * side, 3 * side : 5 * side]
    return float(middle.mean() - np.mean([corner.mean() for corner in corners]))
