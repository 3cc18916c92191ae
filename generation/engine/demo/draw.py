"""Pictures drawn by code: the demo model's only teacher. Any size; antialiased by drawing larger and reducing."""

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from generation.engine.demo.specs import Scene, Shape, Spec

Rgb = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING = 3
COLOURS: dict[str, Rgb] = {
    "red": (222, 52, 52),
    "orange": (247, 142, 36),
    "yellow": (251, 214, 58),
    "green": (58, 158, 80),
    "blue": (48, 100, 210),
    "purple": (128, 70, 178),
    "pink": (244, 142, 184),
    "brown": (122, 78, 50),
    "black": (32, 32, 38),
    "white": (250, 250, 247),
    "gray": (146, 150, 156),
}
PLAIN: Rgb = (204, 228, 245)
"""The background when a prompt names none: a pale blue on which every colour shows."""
SIZES = {"small": 0.105, "medium": 0.175, "big": 0.27}
"""Radius of a shape, in shares of the shorter side."""
PLACES: dict[str, Point] = {
    "middle": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1),
    "top left": (-1, -1), "top right": (1, -1), "bottom left": (-1, 1), "bottom right": (1, 1),
}  # fmt: skip
SKIES: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "day": ((112, 186, 240), (160, 212, 246), (216, 240, 250)),
    "sunset": ((96, 84, 160), (236, 124, 116), (255, 206, 120)),
    "night": ((14, 20, 54), (26, 36, 82), (50, 64, 118)),
}
GROUNDS: dict[tuple[str, str], tuple[Rgb, Rgb]] = {
    ("meadow", "day"): ((150, 206, 104), (110, 184, 82)),
    ("meadow", "sunset"): ((150, 150, 78), (104, 124, 62)),
    ("meadow", "night"): ((38, 84, 70), (24, 62, 54)),
    ("sea", "day"): ((70, 156, 214), (38, 122, 190)),
    ("sea", "sunset"): ((190, 112, 140), (112, 80, 140)),
    ("sea", "night"): ((30, 56, 116), (16, 36, 86)),
    ("desert", "day"): ((246, 220, 158), (236, 198, 122)),
    ("desert", "sunset"): ((234, 164, 104), (208, 128, 82)),
    ("desert", "night"): ((116, 98, 110), (88, 74, 90)),
    ("snow", "day"): ((232, 242, 250), (250, 252, 254)),
    ("snow", "sunset"): ((228, 190, 204), (246, 220, 218)),
    ("snow", "night"): ((120, 136, 182), (150, 166, 206)),
}
"""(far, near) colour of the ground."""
STARS: tuple[Point, ...] = (
    (0.06, 0.10), (0.16, 0.22), (0.27, 0.07), (0.36, 0.19), (0.45, 0.08), (0.56, 0.16),
    (0.66, 0.06), (0.74, 0.24), (0.85, 0.09), (0.94, 0.20), (0.09, 0.36), (0.90, 0.35),
)  # fmt: skip
WOOD: Rgb = (112, 72, 46)
SAND: Rgb = (240, 210, 142)
LAMP: Rgb = (255, 222, 112)


class Pen:
    """A canvas of `width` x `height` in final pixels, drawn `SUPERSAMPLING` times larger."""

    def __init__(self, image: Image.Image, rng: random.Random) -> None:
        self.rng = rng
        self.image = image
        self.width, self.height = image.width / SUPERSAMPLING, image.height / SUPERSAMPLING
        self.unit = min(self.width, self.height)
        self._draw = ImageDraw.Draw(image)

    def jitter(self, amount: float) -> float:
        return self.rng.uniform(-amount, amount)

    def polygon(self, points: Sequence[Point], colour: Rgb) -> None:
        self._draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Rgb) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Rgb) -> None:
        s = SUPERSAMPLING
        self._draw.ellipse([(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s], fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Rgb) -> None:
        self.ellipse(x, y, radius, radius, colour)

    def line(self, points: Sequence[Point], width: float, colour: Rgb) -> None:
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(1, round(width * SUPERSAMPLING)), joint="curve")


def draw(spec: Spec, *, width: int = 256, height: int = 256, rng: random.Random) -> Image.Image:
    """The picture of `spec`; `rng` moves and tints it a little, within what the caption allows."""
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    if isinstance(spec, Scene):
        pen = Pen(_gradient(*size, SKIES[spec.time], 0.66), rng)
        _draw_scene(pen, spec)
    else:
        ground = _background(spec, rng)
        pen = Pen(Image.new("RGB", size, ground), rng)
        _draw_shape(pen, spec, ground)
    return pen.image.reduce(SUPERSAMPLING)


def _gradient(width: int, height: int, stops: tuple[Rgb, Rgb, Rgb], end: float) -> Image.Image:
    """Vertical gradient over the upper `end` of the picture."""
    rows = np.linspace(0.0, 1.0 / end, height)
    column = np.stack([np.interp(rows, (0.0, 0.5, 1.0), [stop[c] for stop in stops]) for c in range(3)], axis=-1)
    pixels = np.broadcast_to(column.round().astype(np.uint8)[:, None, :], (height, width, 3))
    return Image.fromarray(np.ascontiguousarray(pixels))


def _tint(colour: Rgb, rng: random.Random, amount: int = 5) -> Rgb:
    r, g, b = (min(255, max(0, value + rng.randint(-amount, amount))) for value in colour)
    return r, g, b


def _mix(colour: Rgb, other: Rgb, share: float) -> Rgb:
    r, g, b = (round(a + (z - a) * share) for a, z in zip(colour, other, strict=True))
    return r, g, b


def _background(spec: Shape, rng: random.Random) -> Rgb:
    return _tint(COLOURS[spec.background] if spec.background else PLAIN, rng, 4)


# Shapes


def _draw_shape(pen: Pen, spec: Shape, ground: Rgb) -> None:
    radius = SIZES[spec.size] * pen.unit * (1 + pen.jitter(0.04))
    across, down = PLACES[spec.place]
    # A big shape keeps its distance from the edge, so its corner lies nearer to the middle than a small one's.
    reach_x = pen.width / 2 - max(radius * 1.24, 0.2 * pen.unit)
    reach_y = pen.height / 2 - max(radius * 1.24, 0.2 * pen.unit)
    x = pen.width / 2 + across * reach_x + pen.jitter(0.015 * pen.unit)
    y = pen.height / 2 + down * reach_y + pen.jitter(0.015 * pen.unit)
    colour = _tint(COLOURS[spec.colour], pen.rng)
    _SHAPES[spec.shape](pen, x, y, radius, colour, ground)


def _circle(pen: Pen, x: float, y: float, r: float, colour: Rgb, ground: Rgb) -> None:
    pen.disc(x, y, r * 0.96, colour)


def _square(pen: Pen, x: float, y: float, r: float, colour: Rgb, ground: Rgb) -> None:
    side = r * 0.86
    pen.box(x - side, y - side, x + side, y + side, colour)


def _triangle(pen: Pen, x: float, y: float, r: float, colour: Rgb, ground: Rgb) -> None:
    pen.polygon([(x, y - r), (x + r * 1.08, y + r * 0.84), (x - r * 1.08, y + r * 0.84)], colour)


def _star(pen: Pen, x: float, y: float, r: float, colour: Rgb, ground: Rgb) -> None:
    pen.polygon(
        [
            (x + size * math.sin(k * math.pi / 5), y + 0.06 * r - size * math.cos(k * math.pi / 5))
            for k in range(10)
            for size in [r * (1.12 if k % 2 == 0 else 0.48)]
        ],
        colour,
    )


def _heart(pen: Pen, x: float, y: float, r: float, colour: Rgb, ground: Rgb) -> None:
    # The curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled to the radius.
    points = []
    for k in range(72):
        t = k * math.tau / 72
        up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x + r * 16 * math.sin(t) ** 3 / 15.5, y - r * (up + 2) / 15.5))
    pen.polygon(points, colour)


def _flower(pen: Pen, x: float, y: float, r: float, colour: Rgb, ground: Rgb) -> None:
    for k in range(5):
        angle = k * math.tau / 5
        pen.disc(x + 0.6 * r * math.sin(angle), y - 0.6 * r * math.cos(angle), 0.44 * r, colour)
    heart = COLOURS["orange"] if colour[0] > 235 and 195 < colour[1] < 235 else COLOURS["yellow"]
    pen.disc(x, y, 0.34 * r, heart)


_SHAPES = {
    "circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "heart": _heart, "flower": _flower,
}  # fmt: skip

# Scenes

_ACROSS = {"left": 0.25, "middle": 0.5, "right": 0.75}


def _draw_scene(pen: Pen, spec: Scene) -> None:
    horizon = pen.height * (0.64 + pen.jitter(0.006))
    _draw_lights(pen, spec, horizon)
    _draw_ground(pen, spec, horizon)
    if spec.object:
        size = pen.unit * (1 + pen.jitter(0.04))
        x = pen.width * _ACROSS[spec.place] + pen.jitter(0.015 * pen.unit)
        foot = pen.height * 0.64 + 0.17 * pen.unit + pen.jitter(0.01 * pen.unit)
        _OBJECTS[spec.object](pen, spec, x, foot, size, _tint(COLOURS[spec.colour], pen.rng, 4))


def _draw_lights(pen: Pen, spec: Scene, horizon: float) -> None:
    """Sun, clouds, moon and stars, on the side where the object is not."""
    side = 0.2 if spec.place == "right" else 0.8
    x = side * pen.width + pen.jitter(0.012 * pen.unit)
    y = 0.19 * pen.height + pen.jitter(0.012 * pen.unit)
    if spec.time == "night":
        for across, down in STARS:
            if abs(across * pen.width - x) > 0.13 * pen.unit or abs(down * pen.height - y) > 0.13 * pen.unit:
                pen.disc(across * pen.width, down * pen.height, 0.0075 * pen.unit, (246, 240, 206))
        pen.disc(x, y, 0.08 * pen.unit, (250, 240, 196))
        pen.disc(x + 0.036 * pen.unit, y - 0.02 * pen.unit, 0.066 * pen.unit, _mix((14, 20, 54), (26, 36, 82), 0.55))
    elif spec.time == "sunset":
        y = horizon - 0.03 * pen.unit
        pen.disc(x, y, 0.155 * pen.unit, (253, 186, 110))
        pen.disc(x, y, 0.115 * pen.unit, (255, 232, 150))
    else:
        pen.disc(x, y, 0.098 * pen.unit, (255, 238, 170))
        pen.disc(x, y, 0.074 * pen.unit, (255, 216, 74))
        _draw_cloud(pen, (1 - side) * pen.width, 0.16 * pen.height)
        _draw_cloud(pen, 0.5 * pen.width, 0.27 * pen.height, 0.75)


def _draw_cloud(pen: Pen, x: float, y: float, scale: float = 1.0) -> None:
    size = 0.05 * pen.unit * scale
    x += pen.jitter(0.012 * pen.unit)
    for across, down, radius in ((-1.1, 0.2, 0.75), (0, -0.15, 1.05), (1.15, 0.2, 0.8)):
        pen.disc(x + across * size, y + down * size, radius * size, (250, 252, 254))
    pen.box(x - 1.1 * size, y + 0.2 * size, x + 1.15 * size, y + 0.96 * size, (250, 252, 254))


def _draw_ground(pen: Pen, spec: Scene, horizon: float) -> None:
    far, near = GROUNDS[(spec.ground, spec.time)]
    w, h, u = pen.width, pen.height, pen.unit
    if spec.ground == "sea":
        pen.box(0, horizon, w, h, far)
        pen.box(0, horizon + 0.09 * u, w, h, _mix(far, near, 0.5))
        pen.box(0, horizon + 0.2 * u, w, h, near)
        for k, (across, down) in enumerate(
            ((0.12, 0.05), (0.62, 0.06), (0.36, 0.14), (0.88, 0.15), (0.18, 0.26), (0.7, 0.28))
        ):
            length = (0.05 if k < 2 else 0.07) * u
            y = horizon + down * u
            pen.ellipse(across * w, y, length, 0.007 * u, _mix(far, (255, 255, 255), 0.35))
        return
    swing = {"meadow": 0.035, "desert": 0.045, "snow": 0.025}[spec.ground] * u
    pen.polygon(_hill(w, h, horizon, swing, 0.9 + pen.jitter(0.08)), far)
    pen.polygon(_hill(w, h, horizon + 0.095 * u, swing * 0.7, 3.6 + pen.jitter(0.08)), near)
    if spec.ground == "meadow":
        petal = {"day": (255, 246, 196), "sunset": (250, 214, 150), "night": (120, 150, 140)}[spec.time]
        for across, down in ((0.1, 0.29), (0.36, 0.31), (0.62, 0.3), (0.9, 0.28)):
            pen.disc(across * w, horizon + down * u, 0.011 * u, petal)


def _hill(width: float, height: float, y: float, swing: float, phase: float) -> list[Point]:
    crest = [(width * k / 32, y - swing * math.sin(phase + 1.3 * math.pi * k / 32)) for k in range(33)]
    return [*crest, (width, height), (0, height)]


def _draw_base(pen: Pen, spec: Scene, x: float, foot: float, u: float) -> None:
    """What the object stands on: its shadow, or an island in the sea."""
    if spec.ground == "sea":
        pen.ellipse(x, foot + 0.012 * u, 0.225 * u, 0.046 * u, _mix(GROUNDS[("desert", spec.time)][0], SAND, 0.3))
    else:
        pen.ellipse(x, foot, 0.17 * u, 0.022 * u, _mix(GROUNDS[(spec.ground, spec.time)][1], (20, 24, 40), 0.22))


def _house(pen: Pen, spec: Scene, x: float, foot: float, u: float, colour: Rgb) -> None:
    _draw_base(pen, spec, x, foot, u)
    roof = (74, 86, 116) if spec.colour in ("red", "brown", "orange", "pink") else (176, 66, 54)
    glass = (170, 214, 240) if spec.time == "day" else LAMP
    half, top = 0.135 * u, foot - 0.19 * u
    pen.box(x + 0.06 * u, top - 0.13 * u, x + 0.1 * u, top, _mix(roof, (0, 0, 0), 0.25))
    pen.box(x - half, top, x + half, foot, colour)
    pen.polygon(
        [(x - half - 0.035 * u, top + 0.004 * u), (x, top - 0.135 * u), (x + half + 0.035 * u, top + 0.004 * u)], roof
    )
    pen.box(x - 0.029 * u, foot - 0.105 * u, x + 0.029 * u, foot, WOOD if spec.colour != "brown" else (70, 44, 30))
    for side in (-1, 1):
        centre = x + side * 0.085 * u
        pen.box(centre - 0.027 * u, top + 0.045 * u, centre + 0.027 * u, top + 0.099 * u, glass)


def _tree(pen: Pen, spec: Scene, x: float, foot: float, u: float, colour: Rgb) -> None:
    _draw_base(pen, spec, x, foot, u * 0.9)
    pen.box(x - 0.024 * u, foot - 0.17 * u, x + 0.024 * u, foot, WOOD if spec.colour != "brown" else (78, 50, 34))
    for across, up, radius in ((-0.085, 0.215, 0.085), (0.085, 0.215, 0.085), (0.0, 0.3, 0.105), (0.0, 0.21, 0.085)):
        pen.disc(x + across * u, foot - up * u, radius * u, colour)


def _boat(pen: Pen, spec: Scene, x: float, foot: float, u: float, colour: Rgb) -> None:
    if spec.ground != "sea":
        far, near = GROUNDS[("sea", spec.time)]
        pen.ellipse(x, foot, 0.22 * u, 0.05 * u, _mix(far, near, 0.3))
    deck = foot - 0.07 * u
    pen.box(x - 0.009 * u, deck - 0.26 * u, x + 0.009 * u, deck, WOOD)
    sail = (250, 250, 247) if spec.colour != "white" else (240, 226, 190)
    pen.polygon(
        [(x + 0.018 * u, deck - 0.25 * u), (x + 0.135 * u, deck - 0.025 * u), (x + 0.018 * u, deck - 0.025 * u)], sail
    )
    pen.polygon(
        [(x - 0.018 * u, deck - 0.2 * u), (x - 0.1 * u, deck - 0.025 * u), (x - 0.018 * u, deck - 0.025 * u)], colour
    )
    pen.polygon(
        [
            (x - 0.17 * u, deck),
            (x + 0.17 * u, deck),
            (x + 0.11 * u, foot + 0.014 * u),
            (x - 0.11 * u, foot + 0.014 * u),
        ],
        colour,
    )


def _balloon(pen: Pen, spec: Scene, x: float, foot: float, u: float, colour: Rgb) -> None:
    y = foot - 0.45 * u
    basket = y + 0.21 * u
    for side in (-1, 1):
        pen.line([(x + side * 0.07 * u, y + 0.09 * u), (x + side * 0.028 * u, basket)], 0.007 * u, WOOD)
    pen.polygon(
        [
            (x - 0.112 * u, y + 0.062 * u),
            (x + 0.112 * u, y + 0.062 * u),
            (x + 0.04 * u, y + 0.165 * u),
            (x - 0.04 * u, y + 0.165 * u),
        ],
        colour,
    )
    pen.disc(x, y, 0.128 * u, colour)
    pen.ellipse(
        x, y, 0.05 * u, 0.128 * u, _mix(colour, (255, 255, 255) if spec.colour != "white" else (200, 210, 220), 0.35)
    )
    pen.box(x - 0.034 * u, basket, x + 0.034 * u, basket + 0.05 * u, WOOD)


_OBJECTS = {"house": _house, "tree": _tree, "boat": _boat, "balloon": _balloon}
