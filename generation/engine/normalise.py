"""One input picture, as everything behind the web wants it. A program of its own: what is sent by strangers is decoded
here, in a process with bounds on memory and time, and nowhere else.

    python normalise.py picture|mask|alpha < file > answer

The answer is a line of JSON; without `error` in it the PNG follows. Pictures come out upright, in sRGB, RGB of 8 bits,
transparency laid on white, without metadata. A `mask` comes out grey, transparency laid on black: white is what is
drawn anew. `alpha` is OpenAI's mask: what is transparent there is what is drawn anew.

Imports no part of the studio, so that it starts quickly and holds nothing that is worth reading.
"""

from __future__ import annotations

import io
import json
import math
import resource
import sys
from contextlib import suppress
from typing import BinaryIO

from PIL import Image, ImageCms

MAX_BYTES = 40_000_000  # of pictures that the studio has drawn itself; of what is sent far less
MAX_SIDE = 8192
MIN_SIDE = 16
# What is decoded at once. Pillow's decoder of WebP holds four pictures, the others one.
MAX_PIXELS = {"PNG": 4096 * 4096, "JPEG": 8192 * 6144, "MPO": 8192 * 6144, "WEBP": 4096 * 2048}
KEPT_SIDE, KEPT_PIXELS = 4096, 4096 * 2048  # no model draws more
FORMATS = ("PNG", "JPEG", "WEBP")
WHITE_FROM = 128  # of a mask's greys

MEMORY_BYTES = 176 * 2**20  # of its own: what it shares with others (code) comes on top
CPU_S = 6

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_HAS_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


class Refused(Exception):
    """What is wrong with the file, to be read after its field's name."""


def main() -> None:
    """Read, answer, end."""
    _bound()
    try:
        picture = normalise(sys.stdin.buffer.read(MAX_BYTES + 1), kind=sys.argv[1])
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=3)
        answer, data = {"width": picture.width, "height": picture.height}, out.getvalue()
    except Refused as error:
        answer, data = {"error": str(error)}, b""  # type: ignore[dict-item]
    except MemoryError:
        answer, data = {"error": f"needs more than {MEMORY_BYTES // 2**20} MiB to be decoded, send a smaller one"}, b""  # type: ignore[dict-item]
    _write(sys.stdout.buffer, json.dumps(answer).encode() + b"\n" + data)


def normalise(data: bytes, *, kind: str) -> Image.Image:
    """The picture or mask in the bytes of a file. Raises `Refused`, MemoryError."""
    if not data:
        raise Refused("is empty")
    if len(data) > MAX_BYTES:
        raise Refused(f"is too large, max {MAX_BYTES} bytes")
    try:
        source = Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception:  # a broken file may raise anything: OSError, SyntaxError, struct.error, a bomb's warning …
        raise Refused("is no PNG, JPEG or WebP that can be read") from None
    check_size(source)
    try:
        turn, profile = _orientation(source), source.info.get("icc_profile")
        load(source)
        # Smaller first, then its colours: each step holds two pictures at most.
        picture = shrink(read_alpha(source) if kind == "alpha" else flatten(source, kind=kind))
        picture = to_srgb(picture, profile) if kind == "picture" else picture.convert("L")
        picture = picture.transpose(_TURNS[turn]) if turn in _TURNS else picture
    except (Refused, MemoryError):
        raise
    except Exception:
        raise Refused("cannot be decoded: it is damaged, cut short or needs too much memory") from None
    if kind != "picture" and picture.getextrema()[1] < WHITE_FROM:  # type: ignore[operator]
        nothing = "has nothing transparent" if kind == "alpha" else "is black everywhere"
        raise Refused(f"{nothing}, so that nothing would be drawn anew")
    picture.info = {}
    return picture


def check_size(source: Image.Image) -> None:
    """By what the header says, before a pixel is decoded. Raises `Refused`."""
    width, height = source.size
    kind = source.format or "PNG"
    if getattr(source, "is_animated", False) and kind != "MPO":  # a phone's JPEG with a second, smaller picture behind
        raise Refused("is animated, send a still picture")
    if max(width, height) > MAX_SIDE:
        raise Refused(f"is {width} × {height} pixels, max {MAX_SIDE} a side")
    if min(width, height) < MIN_SIDE:
        raise Refused(f"is {width} × {height} pixels, min {MIN_SIDE} a side")
    if width * height > MAX_PIXELS[kind]:
        raise Refused(f"is {width} × {height} pixels, max {MAX_PIXELS[kind]} pixels for {kind.replace('MPO', 'JPEG')}")


def kept_size(width: int, height: int) -> tuple[int, int]:
    """How large it is stored: as it is, or as much smaller as the bounds want it."""
    share = min(1.0, KEPT_SIDE / max(width, height), math.sqrt(KEPT_PIXELS / (width * height)))
    return max(MIN_SIDE, int(width * share)), max(MIN_SIDE, int(height * share))


def load(source: Image.Image) -> None:
    """Decode it; a large JPEG at a half or a quarter of its size, which costs no more than that."""
    width, height = source.size
    for part in (4, 2):
        if width * height > KEPT_PIXELS * part * part // 4:
            source.draft(None, (width // part, height // part))
            break
    source.load()


def flatten(source: Image.Image, *, kind: str) -> Image.Image:
    """RGB, grey or CMYK of 8 bits; transparency laid on white, in a mask on black. The source is let go."""
    if source.mode.startswith("I") or source.mode == "F":
        flat = to_eight_bits(source)
    elif is_transparent(source):
        clear = source if source.mode == "RGBA" else source.convert("RGBA")
        if clear is not source:
            source.close()
        flat = Image.new("RGB", clear.size, "white" if kind == "picture" else "black")
        flat.paste(clear, mask=clear)
        source = clear
    elif source.mode in ("RGB", "L", "CMYK"):
        return source
    else:
        flat = source.convert("L" if source.mode == "1" else "RGB")
    source.close()
    return flat


def read_alpha(source: Image.Image) -> Image.Image:
    """A mask as OpenAI's API has it: the more transparent, the whiter."""
    if not is_transparent(source):
        raise Refused("has no transparency: what is transparent is edited")
    alpha = (source if source.mode in ("RGBA", "LA") else source.convert("RGBA")).getchannel("A")
    source.close()
    return alpha.point([255 - value for value in range(256)])


def is_transparent(source: Image.Image) -> bool:
    """Whether it has an alpha channel, or a colour that stands for transparent."""
    return source.mode in _HAS_ALPHA or "transparency" in source.info


def to_eight_bits(source: Image.Image) -> Image.Image:
    """Grey of 16 bits: the upper eight of them. Other deep modes come from no file that is taken here."""
    if source.mode not in ("I;16", "I;16L", "I;16N", "I;16B"):
        return source.convert("L")
    upper = 0 if source.mode == "I;16B" else 1
    return Image.frombytes("L", source.size, source.tobytes()[upper::2])


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """By its profile; one that cannot be used is passed over, as browsers do."""
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            same = picture.mode == "RGB"
            done = ImageCms.profileToProfile(
                picture, given, ImageCms.createProfile("sRGB"), outputMode="RGB", inPlace=same
            )
            return picture if done is None else done
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def shrink(picture: Image.Image) -> Image.Image:
    """To the size that is kept."""
    size = kept_size(*picture.size)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def _orientation(source: Image.Image) -> int:
    """How it was held; 1 where nobody says."""
    try:
        return int(source.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # rubbish where EXIF should be says nothing
        return 1


def _bound() -> None:
    bounds = [
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, MEMORY_BYTES),
    ]
    for what, most in bounds:
        with suppress(ValueError, OSError):  # a system that has set a narrower one keeps it
            resource.setrlimit(what, (most, most))


def _write(out: BinaryIO, data: bytes) -> None:
    out.write(data)
    out.flush()


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = None  # `check_size` is narrower, and names its bound
    main()
