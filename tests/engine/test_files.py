"""The bytes of picture files: formats, and the quality that somebody asks for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from generation.engine.files import Format, encode_picture

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


@pytest.mark.parametrize("fmt", ["jpeg", "webp"])
def test_less_quality_is_less_bytes(fmt: Format) -> None:
    sizes = [len(encode_picture(NOISE, fmt=fmt, quality=quality).data) for quality in (0, 20, 60, 100)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("quality", [0, 50, 100, None])
def test_png_loses_nothing(quality: int | None) -> None:
    file = encode_picture(NOISE, fmt="png", quality=quality)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file.data))), np.asarray(NOISE))


@pytest.mark.parametrize(("quality", "sampling"), [(100, 0), (90, 0), (89, 2), (None, 0)])
def test_a_good_jpeg_keeps_all_colours(quality: int | None, sampling: int) -> None:
    from PIL.JpegImagePlugin import get_sampling

    assert get_sampling(Image.open(io.BytesIO(encode_picture(NOISE, fmt="jpeg", quality=quality).data))) == sampling


@pytest.mark.parametrize("quality", [-1, 101])
def test_a_quality_out_of_range_is_refused(quality: int) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        encode_picture(NOISE, fmt="webp", quality=quality)
