"""/files/logos and /files/exports: private like pictures. Whoever may not see a file is told that there is none."""

from __future__ import annotations

from uuid import UUID

from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from accounts.api.problems import problem_response
from accounts.domain.exports import fetch_export
from accounts.domain.logos import find_logo
from accounts.errors import NotAllowed, NotFound
from accounts.web.requests import StudioRequest
from accounts.web.serving import VARY, media_file, send_file


@require_safe
def serve_logo(request: StudioRequest, tenant: UUID, name: str) -> HttpResponseBase:
    """A tenant's logo, for its members: also beside its name where they are looking at another tenant of theirs."""
    caller = request.caller
    try:
        if caller is None:
            raise NotFound("no such file")
        path = media_file(find_logo(by=caller, person=request.person, tenant=tenant, name=name))
    except NotFound as error:
        return problem_response(error, path=request.path)
    response = send_file(request, path, etag=f'"{path.stem}"')
    if response.status_code == 200:
        response.headers["Content-Type"] = "image/webp"
    response.headers["ETag"] = f'"{path.stem}"'
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"  # another logo has another name
    response.headers["Vary"] = VARY
    return response


@require_safe
def serve_export(request: StudioRequest, export: UUID) -> HttpResponseBase:
    """The zip of an export, for owners of its tenant."""
    try:
        if request.caller is None:
            raise NotFound("no such file")
        row = fetch_export(by=request.caller, export_id=export)
        path = media_file(row.file)
    except (NotFound, NotAllowed):
        return problem_response(NotFound("no such file"), path=request.path)
    response = send_file(request, path)
    response.headers["Content-Type"] = "application/zip"
    name = f"qwenstudio-export-{row.created_at:%Y%m%d}-{str(row.pk)[-6:]}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Vary"] = VARY
    return response
