"""From a frame to the bytes of a picture file and its thumbnail. Pillow only; no torch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from PIL import Image

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
THUMBNAIL_SIDE = 320  # pixels of the longer side
_OPTIONS: dict[str, dict[str, int]] = {
    # Level 1: 77 ms for 1024², where the default level 6 takes 490 ms for a few percent less.
    "png": {"compress_level": 1},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"quality": 92, "method": 2},
}
_FULL_COLOUR = 90  # a JPEG of less quality keeps a quarter of its colours, as everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFile:
    """Encoded bytes with their size in pixels; `content_type` is the MIME type."""

    data: bytes
    format: Format
    width: int
    height: int

    @property
    def content_type(self) -> str:
        return f"image/{self.format}"


def encode_picture(picture: Image.Image, *, fmt: Format, quality: int | None = None) -> PictureFile:
    """`quality`, 0 to 100, is for JPEG and WebP instead of ours; PNG loses nothing, whatever it is.

    Raises ValueError for a format that is not one of png, jpeg, webp, and for a quality out of range.
    """
    if fmt not in _OPTIONS:
        raise ValueError(f"format {fmt!r} is unknown, allowed: {', '.join(FORMATS)}")
    data = _save(picture, fmt, **_options_of(fmt, quality))
    return PictureFile(data=data, format=fmt, width=picture.width, height=picture.height)


def _options_of(fmt: Format, quality: int | None) -> dict[str, int]:
    options = _OPTIONS[fmt]
    if quality is None or fmt == "png":
        return options
    if not 0 <= quality <= 100:
        raise ValueError(f"quality {quality} is out of range, 0 to 100")
    if fmt == "jpeg":
        return {"quality": max(1, quality), "subsampling": 0 if quality >= _FULL_COLOUR else 2}
    return {**options, "quality": quality}


def encode_thumbnail(picture: Image.Image) -> PictureFile:
    """A WebP with a longer side of at most 320 pixels; small pictures keep their size."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return PictureFile(
        data=_save(small, "webp", quality=80, method=2), format="webp", width=small.width, height=small.height
    )


def _save(picture: Image.Image, fmt: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, fmt.upper(), **options)
    return buffer.getvalue()
