"""Pictures in messages: data URLs alone. Nothing is ever fetched for a client, by us or by an upstream."""

from __future__ import annotations

import base64
import binascii
import re
from io import BytesIO
from typing import Any

from PIL import Image

from generation.chat.fields import Fields, Wrong, one_of
from generation.chat.request import ImagePart

MAX_PIXELS = 33_554_432  # 32 megapixels: an upstream decodes it whole
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
DETAILS = ("auto", "low", "high")
_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|webp));base64,")


def read_picture(fields: Fields) -> ImagePart:
    """The `image_url` of a content part, an object with `url`, or the URL itself. Raises `Wrong`."""
    value = fields.data.get("image_url")
    if isinstance(value, str):
        return _read_url(value, None)
    inner = fields.inner("image_url", None, value)
    detail = inner.read("detail", one_of(DETAILS))
    return _read_url(inner.data.get("url"), detail)


def _read_url(url: Any, detail: str | None) -> ImagePart:
    if not isinstance(url, str):
        raise Wrong("image_url.url must be text")
    found = _DATA_URL.match(url)
    if found is None:
        raise Wrong("image_url must be a data URL (data:image/png;base64,…; png, jpeg or webp): none is fetched")
    encoded = url[found.end() :]
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("image_url is not base64") from None
    _check_size(content, FORMATS[found[1]])
    return ImagePart(media_type=found[1], base64=encoded, detail=detail)


def _check_size(content: bytes, form: str) -> None:
    """By the picture's head alone: the form is the one that is said, and its size is within bounds."""
    try:
        with Image.open(BytesIO(content), formats=(form,)) as picture:
            width, height = picture.size
    except Exception:  # what Pillow raises for broken heads is not one family
        raise Wrong(f"image_url is no {form} picture") from None
    if width * height > MAX_PIXELS:
        raise Wrong(f"image_url has {width} x {height} pixels, max {MAX_PIXELS} in all")
