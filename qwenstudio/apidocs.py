"""The OpenAPI description and its page. Both are public: they hold nothing of any tenant."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularSwaggerSplitView

from accounts.api.schema import INTRODUCTION, TAGS
from qwenstudio.door.described import DOOR_PATHS

# Swagger UI starts itself from a script of its own address, so that its policy needs no `unsafe-inline` for scripts.
docs_page = SpectacularSwaggerSplitView.as_view(url_name="api-schema", template_name="api_docs.html")


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The description as JSON."""
    content = schema_bytes()
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(content, content_type="application/vnd.oai.openapi+json;version=3.1", headers=headers)


@cache
def schema_bytes() -> bytes:
    """Made once per process: it follows from the code and `STUDIO_URL` alone."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    found = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    found["info"]["description"] = INTRODUCTION.strip()
    found["paths"] = dict(sorted({**found["paths"], **DOOR_PATHS}.items()))
    found["tags"] = TAGS
    found["servers"] = [{"url": settings.STUDIO_URL}]
    return orjson.dumps(found)
