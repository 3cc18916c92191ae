"""Sending private files from `STUDIO_MEDIA`, by the cheapest way that the server in front offers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase

from accounts.errors import NotFound
from accounts.web.requests import StudioRequest

log = logging.getLogger(__name__)

VARY = "Cookie, Authorization, X-Api-Key"


def media_file(name: str) -> Path:
    """The file under `STUDIO_MEDIA`. Raises `NotFound` where it is gone, or where the row points elsewhere."""
    root = settings.STUDIO_MEDIA.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        log.error("a row names a file that is not there: %s", name)
        raise NotFound("no such file")
    return path


def send_file(request: StudioRequest, path: Path, *, etag: str = "") -> HttpResponseBase:
    """The body, or 304 for who has it already."""
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    if etag and (etag in known or "*" in known):
        return HttpResponse(status=304)
    if settings.STUDIO_ACCEL_PREFIX:
        # nginx sends it from an `internal` location whose root is STUDIO_MEDIA.
        name = path.relative_to(settings.STUDIO_MEDIA.resolve())
        return HttpResponse(headers={"X-Accel-Redirect": settings.STUDIO_ACCEL_PREFIX + quote(str(name))})
    if request.META.get("studio.sendfile") and request.method == "GET":
        # The async server sends it: no thread of ours waits for a slow client.
        size = os.path.getsize(path)
        return HttpResponse(headers={"X-Studio-Sendfile": str(path), "Content-Length": str(size)})
    return FileResponse(path.open("rb"))
