"""Logos: encoded by us, small, private; the old one goes."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.logos import MAX_BYTES, MAX_SIDE, encode_logo
from accounts.domain.tenants import change_tenant
from accounts.errors import InvalidField, NotAllowed
from accounts.models import AuditEvent, Tenant
from accounts.tenancy import in_tenant
from tests.factories import Person


def picture(fmt: str = "PNG", size: tuple[int, int] = (600, 300), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 120 if mode in ("L", "P") else (200, 60, 30, 128)[: len(mode)]).save(out, fmt)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims a hundred million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 2_000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def run_errands() -> None:
    while (claimed := claim_errand("test")) is not None:
        assert run_errand(claimed) == "done"


@pytest.mark.parametrize(
    ("fmt", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB")]
)
def test_every_format_becomes_a_small_webp(fmt: str, mode: str) -> None:
    with Image.open(io.BytesIO(encode_logo(picture(fmt, mode=mode)))) as found:
        assert (found.format, found.size) == ("WEBP", (256, 128))


def test_metadata_is_gone_and_turned_pictures_stand_upright() -> None:
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112], exif[0x010E] = 6, "secret place"
    out = io.BytesIO()
    turned.save(out, "JPEG", exif=exif)
    encoded = encode_logo(out.getvalue())
    with Image.open(io.BytesIO(encoded)) as found:
        assert found.size == (20, 40)
    assert b"secret place" not in encoded and b"Exif" not in encoded


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no PNG"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG"), (picture("GIF"), "no PNG"),
        (picture("BMP"), "no PNG"), (picture()[:-30], "no PNG"), (b"x" * (MAX_BYTES + 1), "too large"),
        (bomb(), "too many pixels"), (picture(size=(MAX_SIDE + 1, 1)), "too many pixels"),
    ],
    ids=("empty", "svg", "gif", "bmp", "cut", "heavy", "bomb", "wide"),
)  # fmt: skip
def test_what_is_no_logo_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidField, match=why):
        encode_logo(data)


def test_old_logo_goes(alice: Person, bob: Person, media: Path) -> None:
    with in_tenant(alice.tenant.pk):
        first = change_tenant(by=alice.caller, address=None, logo=picture()).logo
        assert stat.S_IMODE((media / first).stat().st_mode) == 0o600
        again = change_tenant(by=alice.caller, address=None, logo=picture()).logo
        assert again != first, "the same picture is another file: the errand that removes the first must not hit it"
    run_errands()
    assert [path.name for path in (media / str(alice.tenant.pk)).iterdir()] == [Path(again).name]
    with in_tenant(alice.tenant.pk):
        with pytest.raises(NotAllowed):
            change_tenant(by=bob.caller, address=None, logo=picture())
        with pytest.raises(NotAllowed):
            change_tenant(by=bob.caller, address=None, logo=b"")
        with pytest.raises(InvalidField):
            change_tenant(by=alice.caller, address=None, logo=b"x")
        assert Tenant.objects.get().logo == again
        assert change_tenant(by=alice.caller, address=None, logo=b"").logo == ""
        assert AuditEvent.objects.filter(action="tenant.logo").count() == 3
    run_errands()
    assert list((media / str(alice.tenant.pk)).iterdir()) == []


def test_a_change_that_is_refused_leaves_no_file(alice: Person, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_tenant(alice.tenant.pk):
        with pytest.raises(InvalidField):
            change_tenant(by=alice.caller, address=None, name="", logo=picture())
        with pytest.raises(InvalidField):
            change_tenant(by=alice.caller, address=None, name="New", logo=b"x")
        assert Tenant.objects.get().name == "A"

        def fail(*args: object, **more: object) -> None:
            raise OSError("the log is full")

        monkeypatch.setattr("accounts.domain.logos.record", fail)
        with pytest.raises(OSError, match="full"):
            change_tenant(by=alice.caller, address=None, name="New", logo=picture())
        assert (Tenant.objects.get().name, Tenant.objects.get().logo) == ("A", "")
    assert list((media / str(alice.tenant.pk)).iterdir()) == []
