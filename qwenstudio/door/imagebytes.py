"""Pictures as base64, piece by piece, and previews as pictures of the size and kind that were asked for."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from PIL import Image

from generation.engine.files import Format, encode_picture

log = logging.getLogger(__name__)

PIECE = 3 * 256 * 1024  # bytes of a file at a time; a multiple of 3, so that pieces of base64 can be put together


def base64_length(size: int) -> int:
    """How many characters so many bytes become."""
    return 4 * math.ceil(size / 3)


async def read_base64(path: Path) -> AsyncIterator[bytes]:
    """A file as base64; the disk is read in a thread."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(lambda: base64.b64encode(file.read(PIECE))):
            yield piece
    finally:
        await asyncio.to_thread(file.close)


async def enlarge_preview(data: str, *, fmt: str, width: int, height: int) -> bytes:
    """The base64 of a preview (a data URL) in the size and format of the picture; nothing where it cannot be read."""
    return await asyncio.to_thread(_enlarge, data, fmt, width, height)


def _enlarge(data: str, fmt: str, width: int, height: int) -> bytes:
    try:
        small = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])), formats=("WEBP",))
        large = small.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    except (OSError, ValueError) as error:
        log.warning("a preview cannot be read: %s", type(error).__name__)
        return b""
    return base64.b64encode(encode_picture(large, fmt=cast(Format, fmt)).data)


def steps_of_partials(steps: int, partials: int) -> list[int]:
    """After which steps a partial picture is due: spread over the whole way."""
    return [math.ceil((number + 1) * steps / (partials + 1)) for number in range(partials)]
