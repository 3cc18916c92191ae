"""Pictures as strangers send them, good and bad, made here."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image as Picture


def encode(picture: Picture.Image, kind: str = "PNG", **how: Any) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def png(width: int = 64, height: int = 64, colour: Any = (200, 30, 30), mode: str = "RGB") -> bytes:
    """One colour."""
    return encode(Picture.new(mode, (width, height), colour))


def mask(width: int = 64, height: int = 64) -> bytes:
    """Black, with a white half."""
    picture = Picture.new("L", (width, height), 0)
    picture.paste(255, (0, 0, width // 2, height))
    return encode(picture)


def data_url(data: bytes, kind: str = "image/png") -> str:
    """As a page sends it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A few bytes that say that they are a large picture, as far as a header goes."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100_000), 9)) + chunk(b"IEND", b"")


def opened(data: bytes) -> Picture.Image:
    """Read one back."""
    return Picture.open(io.BytesIO(data))
