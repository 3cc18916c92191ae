"""The guard: what strangers send as a picture, good and bad, and what reading it costs at most."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image as Picture
from PIL import ImageCms

from generation.domain import inputguard
from generation.domain.inputguard import Kind, command, normalise_picture
from generation.engine import normalise
from generation.errors import PictureRefused
from tests.pictures import bomb, chunk, encode, mask, opened, png

PROGRAM = Path(normalise.__file__)
MOST_BYTES = 200_000_000
# The same program, which says at its end how much memory it has held.
MEASURED = f"""
import runpy, sys
try:
    runpy.run_path({str(PROGRAM)!r}, run_name="__main__")
finally:
    [peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    sys.stderr.write(peak.split()[1])
"""


def read(data: bytes, kind: Kind = "picture") -> Picture.Image:
    made = normalise_picture(data, kind=kind, field="image")
    picture = opened(made.data)
    assert (picture.format, picture.size) == ("PNG", (made.width, made.height))
    return picture


def exif(orientation: int) -> bytes:
    found = Picture.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def two_colours(width: int = 64, height: int = 32) -> Picture.Image:
    """Red on the left, blue on the right."""
    whole = Picture.new("RGB", (width, height), "red")
    whole.paste((0, 0, 255), (width // 2, 0, width, height))
    return whole


def apng() -> bytes:
    frames = [Picture.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    return encode(frames[0], save_all=True, append_images=frames[1:])


def animated(kind: str) -> bytes:
    frames = [Picture.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def mpo() -> bytes:
    """A phone's JPEG with a second picture behind."""
    return encode(two_colours(), "MPO", save_all=True, append_images=[Picture.new("RGB", (32, 16))])


def text_bomb() -> bytes:
    """A picture with 300 MB of text that takes 300 kB."""
    whole, end = png(), chunk(b"IEND", b"")
    text = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"a" * 300_000_000, 9))
    return whole[: -len(end)] + text + end


# Made when they are needed: some take a while.
GOOD: dict[str, Callable[[], bytes]] = {
    "RGB": lambda: png(),
    "grey": lambda: png(colour=200, mode="L"),
    "one bit": lambda: encode(Picture.new("1", (64, 64), 1)),
    "palette": lambda: encode(Picture.new("P", (64, 64), 3)),
    "grey and alpha": lambda: png(colour=(200, 128), mode="LA"),
    "16 bit": lambda: encode(Picture.frombytes("I;16", (64, 64), struct.pack("<H", 0x8001) * 64 * 64)),
    "16 bit RGB": lambda: (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress((b"\0" + struct.pack(">HHH", 0xFFFF, 0, 0) * 64) * 64))
        + chunk(b"IEND", b"")
    ),
    "CMYK": lambda: encode(Picture.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG"),
    "progressive": lambda: encode(two_colours(), "JPEG", progressive=True),
    "WebP": lambda: encode(two_colours(), "WEBP"),
    "WebP and alpha": lambda: encode(Picture.new("RGBA", (64, 64), (255, 0, 0, 0)), "WEBP", lossless=True),
    "MPO": lambda: mpo(),
    "rubbish for EXIF": lambda: encode(two_colours(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40),
    "rubbish for a profile": lambda: encode(two_colours(), icc_profile=b"no profile at all"),
    "much text": lambda: text_bomb(),
}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "is empty"),
    "50,000 × 50,000": (lambda: bomb(), "is 50000 × 50000 pixels, max 8192 a side"),
    "16 × 60,000": (lambda: bomb(16, 60_000), "max 8192 a side"),
    "8,192 × 8,192": (lambda: bomb(8192, 8192), "max 16777216 pixels for PNG"),
    "4 × 4": (lambda: png(4, 4), "min 16 a side"),
    "a pixel": (lambda: png(1, 1), "min 16 a side"),
    "a large JPEG": (lambda: encode(Picture.new("L", (8192, 6200)), "JPEG"), "max 50331648 pixels for JPEG"),
    "a large WebP": (lambda: encode(Picture.new("RGB", (4100, 2100)), "WEBP", method=0), "max 8388608 pixels for WEBP"),
    "cut short": (lambda: encode(Picture.effect_noise((256, 256), 90))[:9000], "cannot be decoded"),
    "a JPEG cut short": (lambda: encode(Picture.effect_noise((256, 256), 90), "JPEG")[:9000], "cannot be decoded"),
    "a header only": (lambda: bomb(512, 512)[:40], "no PNG, JPEG or WebP"),
    "too few pixels": (lambda: bomb(4096, 4096), "cannot be decoded"),
    "APNG": (lambda: apng(), "is animated"),
    "animated WebP": (lambda: animated("WEBP"), "is animated"),
    "GIF": (lambda: animated("GIF"), "no PNG, JPEG or WebP"),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "no PNG"),
    "PDF": (lambda: b"%PDF-1.7\n1 0 obj << >> endobj", "no PNG"),
    "TIFF": (lambda: encode(two_colours(), "TIFF"), "no PNG"),
    "BMP": (lambda: encode(two_colours(), "BMP"), "no PNG"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "no PNG"),
    "HTML": (lambda: b"<!doctype html><script>alert(1)</script>", "no PNG"),
    "zeros": (lambda: bytes(5000), "no PNG"),
}
LARGE: dict[str, Callable[[], bytes]] = {
    "large RGBA": lambda: encode(Picture.new("RGBA", (4096, 4096), (9, 9, 9, 128)), compress_level=1),
    "large palette": lambda: encode(Picture.new("P", (4096, 4096)), compress_level=1, transparency=0),
    "large 16 bit": lambda: encode(Picture.new("I;16", (4096, 4096)), compress_level=1),
    "large JPEG": lambda: encode(Picture.new("RGB", (8192, 6144)), "JPEG"),
    "large progressive JPEG": lambda: encode(Picture.new("RGB", (8192, 6144)), "JPEG", progressive=True),
    "large WebP": lambda: encode(Picture.new("RGBA", (4096, 2048), (9, 9, 9, 128)), "WEBP", method=0, lossless=True),
}


@cache
def file_of(name: str) -> bytes:
    """The bytes by their name in one of the tables."""
    return (LARGE.get(name) or GOOD.get(name) or BAD[name][0])()


@pytest.mark.parametrize("name", GOOD)
def test_what_is_served_comes_out_plain(name: str) -> None:
    picture = read(file_of(name))
    assert (picture.mode, picture.info) == ("RGB", {})


def test_colours_come_out_right() -> None:
    assert read(file_of("grey")).getpixel((9, 9)) == (200, 200, 200)
    assert read(file_of("16 bit")).getpixel((9, 9)) == (128, 128, 128)
    assert read(file_of("16 bit RGB")).getpixel((9, 9)) == (255, 0, 0)
    assert read(file_of("one bit")).getpixel((9, 9)) == (255, 255, 255)
    red, green, blue = read(file_of("CMYK")).getpixel((9, 9))  # type: ignore[misc]
    assert red > 200 and green < 60 and blue < 60


def test_transparency_is_laid_on_white() -> None:
    assert read(png(colour=(255, 0, 0, 0), mode="RGBA")).getpixel((9, 9)) == (255, 255, 255)
    assert read(png(colour=(0, 0, 0, 128), mode="RGBA")).getpixel((9, 9)) == (127, 127, 127)
    assert read(file_of("WebP and alpha")).getpixel((9, 9)) == (255, 255, 255)
    assert read(encode(Picture.new("P", (64, 64), 0), transparency=0)).getpixel((9, 9)) == (255, 255, 255)


@pytest.mark.parametrize(("orientation", "left_or_top"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_stand_upright(kind: str, orientation: int, left_or_top: str) -> None:
    picture = read(encode(two_colours(), kind, exif=exif(orientation)))
    upright = orientation in (1, 3)
    assert picture.size == ((64, 32) if upright else (32, 64))
    place = {"left": (4, 16), "right": (60, 16), "top": (16, 4), "bottom": (16, 60)}[left_or_top]
    red, _, blue = picture.getpixel(place)  # type: ignore[misc]
    assert red > 200 > blue


def test_a_profile_is_turned_into_srgb() -> None:
    """Lab's profile makes of the same numbers other colours; what is sRGB already stays."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = Picture.new("RGB", (64, 64), (200, 100, 50))
    assert read(encode(plain, icc_profile=srgb)).getpixel((9, 9)) == (200, 100, 50)
    swapped = _profile_with_red_and_blue_swapped(srgb)
    assert read(encode(plain, icc_profile=swapped)).getpixel((9, 9)) == pytest.approx((50, 100, 200), abs=3)


def _profile_with_red_and_blue_swapped(profile: bytes) -> bytes:
    found = bytearray(profile)
    for place in range(132, 132 + 12 * struct.unpack_from(">I", found, 128)[0], 12):
        name = bytes(found[place : place + 4])
        swap = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name)
        if swap:
            found[place : place + 4] = swap
    return bytes(found)


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_names_its_bound(name: str) -> None:
    data, says = file_of(name), BAD[name][1]
    with pytest.raises(PictureRefused) as refused:
        normalise_picture(data, kind="picture", field="image")
    assert says in refused.value.message and refused.value.fields.keys() == {"image"}


def test_too_many_bytes_are_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputguard, "_ask", lambda *args, **more: pytest.fail("decoded"))
    with pytest.raises(PictureRefused, match="max 10000000 bytes"):
        normalise_picture(bytes(10_000_001), kind="picture", field="image")


def test_what_was_drawn_here_may_have_more_bytes() -> None:
    large = encode(Picture.effect_noise((3600, 3600), 90), compress_level=0)
    assert len(large) > inputguard.MAX_BYTES
    made = normalise_picture(large, kind="picture", field="image", own=True)
    assert made.width * made.height <= normalise.KEPT_PIXELS
    with pytest.raises(PictureRefused, match="max 40000000 bytes"):
        normalise_picture(bytes(40_000_001), kind="picture", field="image", own=True)


def test_masks() -> None:
    found = read(mask(), "mask")
    assert found.mode == "L" and (found.getpixel((0, 0)), found.getpixel((63, 0))) == (255, 0)
    assert read(png(colour=(255, 255, 255), mode="RGB"), "mask").getextrema() == (255, 255), "all of it: allowed"
    strokes = Picture.new("RGBA", (64, 64), (0, 0, 0, 0))
    strokes.paste((255, 255, 255, 255), (0, 0, 32, 64))
    drawn = read(encode(strokes), "mask")
    assert (drawn.getpixel((0, 0)), drawn.getpixel((63, 0))) == (255, 0)
    turned = read(encode(strokes), "alpha")  # OpenAI's way round
    assert turned.mode == "L" and (turned.getpixel((0, 0)), turned.getpixel((63, 0))) == (0, 255)
    for data, kind, says in (
        (png(colour=0, mode="L"), "mask", "black everywhere"),
        (png(colour=127, mode="L"), "mask", "black everywhere"),
        (png(colour=(255, 255, 255, 0), mode="RGBA"), "mask", "black everywhere"),
        (png(), "alpha", "no transparency"),
        (png(colour=(1, 2, 3, 255), mode="RGBA"), "alpha", "nothing transparent"),
    ):
        with pytest.raises(PictureRefused, match=says):
            normalise_picture(data, kind=kind, field="mask")  # type: ignore[arg-type]


def test_large_ones_are_kept_smaller() -> None:
    assert normalise.kept_size(64, 4000) == (64, 4000)
    assert normalise.kept_size(8192, 16) == (4096, 16)
    width, height = read(file_of("large RGBA")).size
    assert width * height <= normalise.KEPT_PIXELS and width == height
    assert read(file_of("large JPEG")).size == (2048, 1536)


@pytest.mark.skipif(sys.platform != "linux", reason="its memory is read from /proc")
@pytest.mark.parametrize("name", [*BAD, *LARGE, *GOOD])
def test_reading_costs_less_than_200_megabytes(name: str) -> None:
    """Whatever becomes of it; the time is the processor's, as the bound is."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", MEASURED, "picture"],
        input=file_of(name),
        capture_output=True,
        env={},
        cwd="/",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) * 1024 < MOST_BYTES
    answer = json.loads(done.stdout.partition(b"\n")[0])
    assert ("error" in answer) == (name in BAD)


def test_the_bounds_hold(tmp_path: Path) -> None:
    """A decoder that wants more memory, or time, than there is for it ends; nothing is written anywhere."""
    code = PROGRAM.read_text(encoding="utf-8")
    for fault, says in (("bytearray(300_000_000)", "MiB to be decoded"), ("while_true()", ""), ("write()", "")):
        helpers = "def while_true():\n    while True: pass\ndef write():\n    open('x', 'w').write('x' * 9999)\n"
        planted = code.replace("    source.load()\n", f"    {fault}\n    source.load()\n").replace(
            "def main(", f"{helpers}\n\ndef main("
        )
        assert planted != code
        (tmp_path / "planted.py").write_text(planted.replace("CPU_S = 6", "CPU_S = 1"), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", str(tmp_path / "planted.py"), "picture"],
            input=png(), capture_output=True, env={}, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        assert says in done.stdout.decode()
        assert done.returncode < 0 or b"error" in done.stdout
        assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size == 0


def test_a_guard_that_dies_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in ("import os; os.kill(os.getpid(), 9)", "raise SystemExit(1)", ""):
        monkeypatch.setattr(inputguard, "command", lambda kind, end=end: [sys.executable, "-c", end])
        with pytest.raises(PictureRefused, match="within the bounds"):
            normalise_picture(png(), kind="picture", field="image")


def test_the_guard_gets_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "secret")
    seen = "import os, sys, json; print(json.dumps({'error': repr((dict(os.environ), os.getcwd()))}))"
    monkeypatch.setattr(inputguard, "command", lambda kind: [sys.executable, "-I", "-c", seen])
    with pytest.raises(PictureRefused) as refused:
        normalise_picture(png(), kind="picture", field="image")
    assert "secret" not in refused.value.message and "'/'" in refused.value.message
    assert command("mask")[1:] == ["-I", str(PROGRAM), "mask"]
