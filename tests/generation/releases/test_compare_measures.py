"""Distances of two pictures: against the formulas written out, and where they must be large or small."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generation.releases.compare import measures
from generation.releases.compare.measures import (
    Frame,
    NoPicture,
    hash_luma,
    is_black,
    is_blank,
    measure,
    read_frame,
    ssim,
)
from tests.generation.releases.painter import encode, scene


def frame(pixels: Any) -> Frame:
    return read_frame(encode(pixels))


def ssim_by_the_book(one: Any, other: Any) -> float:
    """Wang et al. 2004, window by window."""
    at = np.arange(11) - 5
    line = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for y in range(one.shape[0] - 10):
        for x in range(one.shape[1] - 10):
            a, b = one[y : y + 11, x : x + 11], other[y : y + 11, x : x + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            found.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(found))


def test_ssim_is_the_papers() -> None:
    rng = np.random.default_rng(3)
    one = rng.uniform(0, 255, (24, 31))
    other = np.clip(one + rng.normal(0, 30, one.shape), 0, 255)
    assert ssim(one, other) == pytest.approx(ssim_by_the_book(one, other), abs=1e-9)
    assert ssim(one, one) == pytest.approx(1.0, abs=1e-12)
    assert ssim(one, other) == pytest.approx(ssim(other, one), abs=1e-12)
    assert 0.3 < ssim(one, other) < 0.95


def test_ssim_of_plain_pictures_is_that_of_their_brightness() -> None:
    one, other = np.full((20, 20), 100.0), np.full((20, 20), 150.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(one, other) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))


def test_ssim_of_a_picture_smaller_than_the_window() -> None:
    one = np.random.default_rng(1).uniform(0, 255, (7, 5))
    assert ssim(one, one) == pytest.approx(1.0)
    assert ssim(one, 255 - one) < 0.2


def test_the_dct_is_orthonormal() -> None:
    dct = measures._dct_matrix(32)
    assert np.allclose(dct @ dct.T, np.eye(32))
    assert np.allclose(dct @ np.ones(32), [np.sqrt(32), *[0] * 31])


def test_the_hash_survives_brightness_and_noise_and_notices_another_picture() -> None:
    pixels = scene(1, width=128, height=96)
    whole = hash_luma(frame(pixels).luma)
    noisy = pixels + np.random.default_rng(1).normal(0, 8, pixels.shape)
    assert (whole ^ hash_luma(frame(pixels * 0.9 + 8).luma)).bit_count() <= 2
    assert (whole ^ hash_luma(frame(noisy).luma)).bit_count() <= 4
    assert (whole ^ hash_luma(frame(pixels[:, ::-1]).luma)).bit_count() > 16
    assert (whole ^ hash_luma(frame(scene(2, width=128, height=96)).luma)).bit_count() > 16
    assert whole < 2**64


def test_plain_pictures_have_one_hash() -> None:
    assert hash_luma(np.full((64, 64), 30.0)) == hash_luma(np.full((64, 64), 200.0))


def test_colours_that_are_equally_bright_are_far_apart() -> None:
    red, blue = np.zeros((64, 64, 3)), np.zeros((64, 64, 3))
    red[..., 0] = 97  # luma 29, as blue 255 has
    blue[..., 2] = 255
    found = measure(frame(red), frame(blue))
    assert found.ssim > 0.99
    assert found.bits == 0
    assert found.colour > 100
    assert measure(frame(red), frame(red)) == measures.Distance(ssim=pytest.approx(1.0), bits=0, colour=0.0)


def test_black_and_blank() -> None:
    black, gray = frame(np.zeros((64, 64, 3))), frame(np.full((64, 64, 3), 127.0))
    assert (is_black(black), is_blank(black)) == (True, True)
    assert (is_black(gray), is_blank(gray)) == (False, True)
    assert (is_black(frame(scene(1))), is_blank(frame(scene(1)))) == (False, False)


def test_nan_becomes_black_and_is_seen() -> None:
    with np.errstate(invalid="ignore"):
        pixels = np.full((64, 64, 3), np.nan).astype(np.uint8)
    assert is_black(frame(pixels))


@pytest.mark.parametrize("data", [b"", b"no picture", encode(scene(1))[:200]])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(NoPicture):
        read_frame(data)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(NoPicture, match="64 × 64 pixels"):
        read_frame(encode(scene(1)))


def test_only_our_formats_are_read() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "GIF")
    with pytest.raises(NoPicture):
        read_frame(out.getvalue())


def test_two_sizes_have_no_distance() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        measure(frame(scene(1)), frame(scene(1, width=32)))
