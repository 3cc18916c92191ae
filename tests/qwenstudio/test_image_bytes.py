"""Base64 by pieces, previews as pictures, and which of them are sent."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from qwenstudio.door import imagebytes
from qwenstudio.door.imagebytes import base64_length, enlarge_preview, read_base64, steps_of_partials


@pytest.mark.parametrize("size", [0, 1, 2, 3, 29, 30, 31, 100])
def test_pieces_make_the_whole(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagebytes, "PIECE", 30)
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)

    async def read() -> list[bytes]:
        return [piece async for piece in read_base64(tmp_path / "file")]

    pieces = asyncio.run(read())
    assert b"".join(pieces) == base64.b64encode(content)
    assert sum(map(len, pieces)) == base64_length(size)
    assert len(pieces) == -(-size // 30)


def test_a_piece_can_be_put_together_with_others() -> None:
    assert imagebytes.PIECE % 3 == 0


@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp"])
def test_a_preview_becomes_what_was_asked_for(fmt: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), (0, 200, 0)).save(buffer, "WEBP")
    url = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = asyncio.run(enlarge_preview(url, fmt=fmt, width=128, height=64))
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert (picture.format, picture.size) == (fmt.upper(), (128, 64))


@pytest.mark.parametrize("data", ["", "data:,", "data:image/webp;base64,AAAA", "data:image/webp;base64,%%%", "x"])
def test_a_broken_preview_is_none(data: str) -> None:
    assert asyncio.run(enlarge_preview(data, fmt="png", width=64, height=64)) == b""


@pytest.mark.parametrize(
    ("steps", "partials", "expected"),
    [(4, 0, []), (4, 1, [2]), (4, 2, [2, 3]), (4, 3, [1, 2, 3]), (8, 3, [2, 4, 6]), (1, 1, [1]), (2, 3, [1, 1, 2])],
)
def test_partials_are_spread_over_the_way(steps: int, partials: int, expected: list[int]) -> None:
    assert steps_of_partials(steps, partials) == expected
