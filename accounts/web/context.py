"""What every page may name in its template."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import get_language

from accounts.domain.codes import sentences_here
from accounts.domain.members import TenantChoice, tenants_of


def studio(request: HttpRequest) -> dict[str, Any]:
    """`caller` (or `None`), `tenants` (of the person signed in; looked up when used), `language`, `lane`, `release`.

    `codes`: the sentences of the catalogue for scripts, as JSON.
    """
    caller = getattr(request, "caller", None)

    def tenants() -> list[TenantChoice]:
        return tenants_of(caller.user) if caller is not None and caller.user is not None else []

    return {
        "caller": caller,
        "tenants": SimpleLazyObject(tenants),
        "language": get_language(),
        "lane": settings.STUDIO_LANE,
        "release": settings.RELEASE,
        "codes": SimpleLazyObject(lambda: json.dumps(sentences_here(), ensure_ascii=False, separators=(",", ":"))),
    }
