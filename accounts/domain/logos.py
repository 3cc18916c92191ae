"""A tenant's logo: a small WebP that we encode ourselves, whatever was sent.

What comes in is opened as PNG, JPEG or WebP only, and its size is read before anything is decoded.
"""

from __future__ import annotations

import io
from contextlib import suppress
from uuid import UUID

from django.conf import settings
from PIL import Image, ImageOps

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.errands import add_errand
from accounts.domain.media import delete_files, write_atomic
from accounts.enums import ErrandKind
from accounts.errors import InvalidField, NotFound
from accounts.ids import uuid7
from accounts.models import Membership, Tenant, User
from accounts.tenancy import in_tenant

MAX_BYTES = 700_000  # with its form it stays under the cap of a request's body
MAX_SIDE = 3000
SIDE = 256
FORMATS = ("PNG", "JPEG", "WEBP")


def write_logo(tenant: UUID, data: bytes) -> str:
    """Encode and write what was sent; returns the path, for `replace_logo`. Raises `InvalidField`, OSError."""
    path = f"{tenant}/logo-{uuid7().hex}.webp"  # never the name of one that an errand is about to remove
    write_atomic(path, encode_logo(data))
    return path


def replace_logo(tenant: Tenant, path: str) -> None:
    """Give a locked tenant this logo, or none; the old one's file goes by an errand of the same transaction."""
    if tenant.logo:
        add_errand(kind=ErrandKind.DELETE_FILES, data={"paths": [tenant.logo]}, tenant=tenant.pk)
    tenant.logo = path
    tenant.save(update_fields=["logo"])
    record("tenant.logo", target=f"tenant:{tenant.pk}", detail={"removed": not path})


def logo_url(tenant: Tenant) -> str | None:
    """Where the logo is served; its name changes with it, so browsers may keep it."""
    return f"{settings.STUDIO_URL}{logo_path(tenant.pk, tenant.logo)}" if tenant.logo else None


def logo_path(tenant: UUID, logo: str) -> str:
    """The same as a path, for pages."""
    return f"/files/logos/{tenant}/{logo.rpartition('/')[2]}"


def find_logo(*, by: Caller, person: User | None, tenant: UUID, name: str) -> str:
    """The path of a logo that the caller may see: their tenant's, or that of another one the person belongs to.

    Raises `NotFound` for everybody else, and for a name that is no longer the logo's.
    """
    own = tenant == by.tenant
    if not own and not (person and Membership.objects.filter(tenant_id=tenant, user=person).exists()):
        raise NotFound("no such file")
    with in_tenant(tenant):
        logo = Tenant.objects.values_list("logo", flat=True).get(pk=tenant)
    if not logo or logo.rpartition("/")[2] != name:
        raise NotFound("no such file")
    return logo


def discard_logo(path: str) -> None:
    """Remove the file of a change that came to nothing."""
    with suppress(OSError):
        delete_files([path])


def encode_logo(data: bytes) -> bytes:
    """A picture as we keep it: WebP, `SIDE` pixels at its longer side, no metadata. Raises `InvalidField`."""
    if len(data) > MAX_BYTES:
        raise InvalidField(f"logo is too large, max {MAX_BYTES} bytes", field="logo")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if max(picture.size) > MAX_SIDE:
                raise InvalidField(f"logo has too many pixels, max {MAX_SIDE} × {MAX_SIDE}", field="logo")
            upright = ImageOps.exif_transpose(picture)
            small = upright.convert("RGBA")
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            out = io.BytesIO()
            small.save(out, "WEBP", quality=90, method=6)
    except InvalidField:
        raise
    except Exception:  # a broken file may raise anything: OSError, SyntaxError, struct.error, a bomb's warning …
        raise InvalidField("logo is no PNG, JPEG or WebP that can be read", field="logo") from None
    return out.getvalue()
