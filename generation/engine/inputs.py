"""Reading the pictures that a row starts from. GPU worker only: diffusers' image processors make tensors of them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from PIL import Image

from generation.engine.errors import InputRefused
from generation.engine.request import InputPicture


def read_input(picture: InputPicture, *, mode: str) -> Image.Image:
    """The picture as it was stored, in `mode` ("RGB", or "L" for a mask). Raises InputRefused: gone, or another one."""
    try:
        data = Path(picture.path).read_bytes()
    except OSError as error:
        raise InputRefused(f"the picture that it starts from cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != picture.sha256:
        raise InputRefused("the picture that it starts from is not the one that was sent")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            opened.load()
            return opened if opened.mode == mode else opened.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputRefused("the picture that it starts from is no PNG") from error


def fit(picture: Image.Image, processor: Any, *, width: int, height: int) -> Image.Image:
    """The picture in the size that is drawn, by the pipeline's own processor (Lanczos)."""
    resized: Image.Image = processor.resize(picture, height=height, width=width)
    return resized
