"""How far two pictures of the same size are apart, and whether one of them shows anything.

Pictures come in as bytes of a file that our own workers have encoded; nothing in here needs torch.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from generation.engine.region import Region

Luma = NDArray[np.float64]
"""(height, width), 0 to 255."""
# Red, green and blue to Y, Cb and Cr, as JPEG has them (BT.601, full range), Cb and Cr around 0.
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

WINDOW = 11
SIGMA = 1.5
K1, K2, RANGE = 0.01, 0.03, 255.0
HASH_SIDE = 8
HASH_FROM = 32
BLANK_STD = 1.0
"""Of luma: below it a picture is one colour. The plainest golden picture of the demo has 9 (`benchmarks/golden.py`)."""
BLACK_MAX = 2.0
"""Of luma: nothing in a black picture is brighter. A compressed black one is not all zeros."""
MAX_PIXELS = 64_000_000


class NoPicture(ValueError):
    """Bytes that are no picture of ours."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded picture: its luma, and Cb and Cr (32, 32, 2) of a thumbnail, −128 to 128."""

    luma: Luma
    chroma: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Distance:
    """How far two frames are apart.

    `ssim`: of lumas, 1 is the same, about 0 unrelated. `bits`: those of the perceptual hash's 64 that differ. `colour`:
    the mean distance in the plane of Cb and Cr, which neither of the two sees: 0 is the same, 1 is a difference that
    nobody sees, red for blue is over 100.
    """

    ssim: float
    bits: int
    colour: float


def read_frame(data: bytes, *, region: Region | None = None) -> Frame:
    """Decode a picture, or what of it lies in `region`. Raises `NoPicture`."""
    whole = _decode(data)
    seen = whole.crop(region.pixels(*whole.size)) if region else whole
    small = seen.resize((HASH_FROM, HASH_FROM), Image.Resampling.BOX)
    luma: Luma = np.asarray(seen, dtype=np.float64) @ _YCC[0]
    return Frame(luma=luma, chroma=np.asarray(small, dtype=np.float64) @ _YCC[1:].T)


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises `NoPicture`."""
    return _decode(data).size


def count_changed(data: bytes, before: bytes, *, region: Region) -> int:
    """How many pixels outside `region` are not those of `before`, of two pictures of one size.

    Raises `NoPicture`, and ValueError for two sizes.
    """
    one, other = _decode(data), _decode(before)
    if one.size != other.size:
        raise ValueError(f"pictures of two sizes: {one.size} and {other.size}")
    changed = (np.asarray(one) != np.asarray(other)).any(axis=-1)
    left, top, right, bottom = region.pixels(*one.size)
    changed[top:bottom, left:right] = False
    return int(changed.sum())


def draw_mask(region: Region, *, width: int, height: int) -> bytes:
    """A PNG of this size, white in the region and black outside."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, region.pixels(width, height))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def _decode(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise NoPicture(f"{picture.width} × {picture.height} pixels are more than a golden picture may have")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise NoPicture(str(error)) from error


def measure(one: Frame, other: Frame) -> Distance:
    """Raises ValueError for two sizes."""
    if one.luma.shape != other.luma.shape:
        raise ValueError(f"pictures of two sizes: {one.luma.shape} and {other.luma.shape}")
    return Distance(
        ssim=ssim(one.luma, other.luma),
        bits=(hash_luma(one.luma) ^ hash_luma(other.luma)).bit_count(),
        colour=float(np.linalg.norm(one.chroma - other.chroma, axis=-1).mean()),
    )


def ssim(one: Luma, other: Luma) -> float:
    """Mean structural similarity of two lumas, −1 to 1.

    Wang, Bovik, Sheikh, Simoncelli: "Image quality assessment: from error visibility to structural similarity", IEEE
    Transactions on Image Processing 13 (4), 2004, equation 13: an 11 × 11 circular-symmetric Gaussian window with a
    standard deviation of 1.5, K1 = 0.01, K2 = 0.03, only where the whole window lies inside. A picture smaller than the
    window is one window. Weighted moments without Bessel's correction, as in the paper's equations 14 to 16.
    """
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    weights = _gaussian(min(WINDOW, *one.shape))
    mean_a, mean_b = _blur(one, weights), _blur(other, weights)
    var_a = _blur(one * one, weights) - mean_a**2
    var_b = _blur(other * other, weights) - mean_b**2
    cov = _blur(one * other, weights) - mean_a * mean_b
    above = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(np.mean(above / below))


def hash_luma(luma: Luma) -> int:
    """A perceptual hash of 64 bits: which of the lowest 8 × 8 frequencies of a 32 × 32 thumbnail are over their median.

    The DCT hash of Zauner: "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1;
    the constant part (0, 0) is left out of the median, because it would only say how bright the picture is.
    """
    small = Image.fromarray(luma.astype(np.float32)).resize((HASH_FROM, HASH_FROM), Image.Resampling.BOX)
    dct = _dct_matrix(HASH_FROM)
    # Rounded: of a plain picture all of them are 0, not a noise of the last binary digits.
    low = np.round((dct @ np.asarray(small, dtype=np.float64) @ dct.T)[:HASH_SIDE, :HASH_SIDE].ravel(), 3)
    above = low > np.median(low[1:])
    return int("".join("1" if bit else "0" for bit in above), 2)


def is_black(frame: Frame) -> bool:
    """Whether nothing can be seen because it is dark: also what NaN becomes in a file."""
    return bool(frame.luma.max() <= BLACK_MAX)


def is_blank(frame: Frame) -> bool:
    """Whether it is one colour all over, as a broken decoder gives."""
    return bool(frame.luma.std() < BLANK_STD)


def _gaussian(size: int) -> NDArray[np.float64]:
    at = np.arange(size) - (size - 1) / 2
    weights: NDArray[np.float64] = np.exp(-(at**2) / (2 * SIGMA**2))
    return np.asarray(weights / weights.sum())


def _blur(values: Luma, weights: NDArray[np.float64]) -> Luma:
    """The weighted mean around every pixel whose window lies inside; the window is separable."""
    n = len(weights)
    height, width = values.shape
    rows = sum(weight * values[i : height - n + 1 + i] for i, weight in enumerate(weights))
    found = sum(weight * rows[:, i : width - n + 1 + i] for i, weight in enumerate(weights))
    return np.asarray(found)


def _dct_matrix(size: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II."""
    k, n = np.mgrid[0:size, 0:size]
    matrix: NDArray[np.float64] = np.sqrt(2 / size) * np.cos(np.pi * (2 * n + 1) * k / (2 * size))
    matrix[0] /= np.sqrt(2)
    return matrix
