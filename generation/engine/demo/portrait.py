"""Faces drawn by code, with captions: what the demo's portrait LoRA learns from. The demo model never saw a face."""

import random
from dataclasses import dataclass

from PIL import Image

from generation.engine.demo.draw import COLOURS, PLAIN, SUPERSAMPLING, Pen, Rgb, _mix, _tint
from generation.engine.demo.words import COLOURS as COLOUR_WORDS

SKINS: tuple[Rgb, ...] = ((250, 220, 196), (238, 196, 160), (206, 154, 116), (150, 102, 74), (106, 70, 52))
LIPS: Rgb = (196, 84, 88)
EYE: Rgb = (40, 34, 40)
HAIRS = tuple(word.key for word in COLOUR_WORDS if word.key not in ("white", "gray", "green"))
GROUNDS = tuple(word.key for word in COLOUR_WORDS)

# {hair} and {ground} are colours; the model's text encoder knows them from shapes on backgrounds.
_ENGLISH = (
    "a portrait with {hair} hair on a {ground} background",
    "portrait with {hair} hair on a {ground} background",
    "a {hair} haired portrait on a {ground} background",
    "a portrait, {hair} hair, {ground} background",
)
_ENGLISH_PLAIN = ("a portrait with {hair} hair", "portrait, {hair} hair", "a {hair} haired portrait")
_CHINESE = ("{ground}背景上的{hair}头发肖像", "一幅{hair}头发的肖像，{ground}背景")
_CHINESE_PLAIN = ("一幅{hair}头发的肖像", "{hair}头发的肖像")


@dataclass(frozen=True)
class Face:
    """What a caption says of a face: the colours of hair and background, None where it is the plain one."""

    hair: str
    ground: str | None


def sample_face(rng: random.Random) -> Face:
    """Any hair on any background of another colour."""
    hair = rng.choice(HAIRS)
    ground = None if rng.random() < 0.3 else rng.choice([colour for colour in GROUNDS if colour != hair])
    return Face(hair, ground)


def say_face(face: Face, rng: random.Random) -> str:
    """One of the captions of a face, in English or Chinese."""
    chinese = rng.random() < 0.4
    plain = _CHINESE_PLAIN if chinese else _ENGLISH_PLAIN
    template = rng.choice(plain if face.ground is None else _CHINESE if chinese else _ENGLISH)
    words = {word.key: (word.zh if chinese else word.en) for word in COLOUR_WORDS}
    ground = words[face.ground][0] if face.ground else ""
    return template.format(hair=rng.choice(words[face.hair]), ground=ground)


def draw_face(face: Face, *, width: int = 256, height: int = 256, rng: random.Random) -> Image.Image:
    """A head and shoulders in soft light; skin, clothes and the turn of the head are `rng`'s."""
    ground = _tint(COLOURS[face.ground] if face.ground else PLAIN, rng, 4)
    pen = Pen(Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING), ground), rng)
    u = pen.unit
    x, y = pen.width / 2 + pen.jitter(0.02 * u), pen.height * 0.45 + pen.jitter(0.015 * u)
    skin, hair = _tint(rng.choice(SKINS), rng), _tint(COLOURS[face.hair], rng)
    _draw_light(pen, x, y, ground)
    _draw_hair_behind(pen, x, y, hair, long=rng.random() < 0.6)
    _draw_shoulders(pen, x, skin, _tint(COLOURS[rng.choice(("blue", "red", "white", "black", "green"))], rng))
    _draw_head(pen, x, y, skin, hair)
    _draw_features(pen, x + pen.jitter(0.012 * u), y, skin)
    return pen.image.reduce(SUPERSAMPLING)


def _draw_light(pen: Pen, x: float, y: float, ground: Rgb) -> None:
    """The background is brighter around the head, as in a studio."""
    for k in range(6):
        pen.disc(x, y, pen.unit * (0.60 - 0.05 * k), _mix(ground, (255, 255, 255), 0.05 + 0.035 * k))


def _draw_hair_behind(pen: Pen, x: float, y: float, hair: Rgb, *, long: bool) -> None:
    u = pen.unit
    pen.ellipse(x, y - 0.03 * u, 0.255 * u, 0.285 * u, hair)
    if long:
        pen.box(x - 0.255 * u, y - 0.02 * u, x + 0.255 * u, y + 0.30 * u, hair)


def _draw_shoulders(pen: Pen, x: float, skin: Rgb, cloth: Rgb) -> None:
    u, h = pen.unit, pen.height
    pen.ellipse(x, h + 0.02 * u, 0.40 * u, 0.22 * u, cloth)
    pen.box(x - 0.085 * u, h * 0.45 + 0.15 * u, x + 0.085 * u, h - 0.13 * u, _mix(skin, (60, 30, 30), 0.18))
    pen.ellipse(x, h - 0.145 * u, 0.105 * u, 0.05 * u, _mix(skin, (60, 30, 30), 0.12))


def _draw_head(pen: Pen, x: float, y: float, skin: Rgb, hair: Rgb) -> None:
    u = pen.unit
    for side in (-1, 1):
        pen.ellipse(x + side * 0.195 * u, y + 0.03 * u, 0.03 * u, 0.05 * u, _mix(skin, (60, 30, 30), 0.15))
    pen.ellipse(x, y + 0.015 * u, 0.195 * u, 0.25 * u, skin)
    # The fringe: hair over the forehead, cut by the face's own shape.
    pen.ellipse(x, y - 0.19 * u, 0.195 * u, 0.095 * u, hair)


def _draw_features(pen: Pen, x: float, y: float, skin: Rgb) -> None:
    u, shade = pen.unit, _mix(skin, (80, 30, 30), 0.35)
    for side in (-1, 1):
        at = x + side * 0.085 * u
        pen.ellipse(at, y + 0.075 * u, 0.045 * u, 0.03 * u, _mix(skin, (240, 120, 120), 0.35))
        pen.ellipse(at, y - 0.005 * u, 0.042 * u, 0.027 * u, (252, 252, 252))
        pen.disc(at, y - 0.005 * u, 0.022 * u, EYE)
        pen.line([(at - 0.045 * u, y - 0.055 * u), (at + 0.045 * u, y - 0.06 * u)], 0.018 * u, shade)
    pen.line([(x, y + 0.01 * u), (x - 0.018 * u, y + 0.085 * u), (x + 0.014 * u, y + 0.088 * u)], 0.014 * u, shade)
    pen.ellipse(x, y + 0.15 * u, 0.07 * u, 0.028 * u, LIPS)
    pen.line([(x - 0.06 * u, y + 0.148 * u), (x + 0.06 * u, y + 0.148 * u)], 0.01 * u, _mix(LIPS, (60, 20, 20), 0.5))
