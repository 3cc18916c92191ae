"""/files/<image>, /files/inputs and /files/zips: the produced files and what they start from, for their tenant and
nobody else; the picture itself also for whoever comes by a signed link (`generation/domain/links.py`).

Whoever may not see a file gets the answer of one that does not exist. Types are fixed by what we encoded ourselves, and
nothing in a file may run in a browser (`qwenstudio/headers.py` has the policy for this path).
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.http import JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from accounts.api.problems import problem_response
from accounts.domain.visitors import may_look_in
from accounts.enums import Scope
from accounts.errors import NotAllowed, NotFound
from accounts.tenancy import in_tenant
from accounts.web.requests import StudioRequest
from accounts.web.serving import VARY, media_file, send_file
from generation.domain.gallery import find_image
from generation.domain.inputs import find_input
from generation.domain.links import tenant_of_link
from generation.domain.receipts import find_receipt
from generation.domain.selections import fetch_zip
from generation.errors import FileNotFound

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
# A file never changes under its id. `private`: no proxy may keep it for somebody else.
CACHING = "private, max-age=31536000, immutable"
LINK_CACHING = "private, max-age=300"  # a link ends, and what it showed should not outlive it by much


@require_safe
def serve_file(request: StudioRequest, image: UUID) -> HttpResponseBase:
    """The full picture; `?download=1` asks the browser to save it. With `?token=…` the link alone counts."""
    token = request.GET.get("token")
    return _serve(request, image, thumbnail=False) if token is None else _serve_linked(request, image, token)


@require_safe
def serve_thumbnail(request: StudioRequest, image: UUID) -> HttpResponseBase:
    """Its WebP thumbnail."""
    return _serve(request, image, thumbnail=True)


@require_safe
def serve_input(request: StudioRequest, input: UUID) -> HttpResponseBase:
    """A picture that generations start from, or a mask: always a PNG that the studio has made."""
    try:
        if request.caller is None or not request.caller.may(Scope.IMAGES_READ):
            raise FileNotFound
        row = find_input(input)
        path = media_file(row.file)
    except (FileNotFound, NotFound):
        return problem_response(FileNotFound(), path=request.path)
    name = f'inline; filename="qwenstudio-input-{str(row.pk)[-6:]}.png"'
    return _send(request, path, kind=TYPES["png"], disposition=name, etag=f'"{row.sha256}"')


@require_safe
def serve_receipt(request: StudioRequest, image: UUID) -> HttpResponseBase:
    """How it was made: the receipt, and the signature that this installation put under it."""
    try:
        _find(request, image)
        receipt = find_receipt(image)
    except (FileNotFound, NotFound) as error:
        return problem_response(error, path=request.path)
    return JsonResponse(receipt, headers={"Cache-Control": "private, no-cache", "Vary": VARY})


@require_safe
def serve_zip(request: StudioRequest, zip: UUID) -> HttpResponseBase:
    """The file of a zip, for who has asked for it."""
    try:
        if request.caller is None:
            raise FileNotFound
        row = fetch_zip(by=request.caller, zip_id=zip)
        path = media_file(row.file)
    except (FileNotFound, NotFound, NotAllowed):
        return problem_response(FileNotFound(), path=request.path)
    response = send_file(request, path)
    response.headers["Content-Type"] = "application/zip"
    name = f"qwenstudio-{row.created_at:%Y%m%d-%H%M%S}-{row.total}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Vary"] = VARY
    return response


def _serve(request: StudioRequest, image: UUID, *, thumbnail: bool) -> HttpResponseBase:
    try:
        row = _find(request, image)
    except FileNotFound as error:
        return problem_response(error, path=request.path)
    return _answer(request, row, thumbnail=thumbnail)


def _serve_linked(request: StudioRequest, image: UUID, token: str) -> HttpResponseBase:
    """For whoever holds a link, while its tenant would let them in."""
    tenant = tenant_of_link(token, image=image)
    if tenant is None:
        return problem_response(FileNotFound(), path=request.path)
    with in_tenant(tenant):
        row = find_image(image) if may_look_in(tenant, address=request.client_address) else None
        response = _answer(request, row, thumbnail=False)
    if response.status_code < 400:
        response.headers["Cache-Control"] = LINK_CACHING
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # the pages of whoever asked for the link
    return response


def _answer(request: StudioRequest, row: Mapping[str, Any] | None, *, thumbnail: bool) -> HttpResponseBase:
    try:
        if row is None:
            raise FileNotFound
        path = media_file(row["thumbnail" if thumbnail else "file"])
    except (FileNotFound, NotFound) as error:
        return problem_response(error, path=request.path)
    kind = "webp" if thumbnail else row["format"]
    etag = f'"{row["sha256"]}{"-t" if thumbnail else ""}"'
    way = "attachment" if request.GET.get("download") == "1" else "inline"
    name = f'{way}; filename="{_name_of(row, kind)}"'
    response = _send(request, path, kind=TYPES[kind], disposition=name, etag=etag)
    response.headers["Last-Modified"] = format_datetime(row["created_at"], usegmt=True)
    return response


def _send(request: StudioRequest, path: Path, *, kind: str, disposition: str, etag: str) -> HttpResponseBase:
    """A file that never changes: who has it already is told so."""
    response = send_file(request, path, etag=etag)
    if response.status_code == 200:
        response.headers["Content-Type"] = kind
        response.headers["Content-Disposition"] = disposition
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = CACHING
    response.headers["Vary"] = VARY
    return response


def _find(request: StudioRequest, image: UUID) -> Mapping[str, Any]:
    """The image's row, looked up in the caller's tenant. Raises `FileNotFound` for everybody else."""
    caller = request.caller
    if caller is None or not caller.may(Scope.IMAGES_READ):
        raise FileNotFound
    row = find_image(image)
    if row is None:
        raise FileNotFound
    return row


def _name_of(row: Mapping[str, Any], kind: str) -> str:
    """A name for the saved file: when, which of the generation's, and enough of the id to be unique."""
    name = f"qwenstudio-{row['created_at']:%Y%m%d-%H%M%S}-{row['index'] + 1}-{str(row['id'])[-6:]}"
    return f"{name}.{kind.replace('jpeg', 'jpg')}"
