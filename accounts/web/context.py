"""What every page may name in its template."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.translation import get_language

from accounts.domain.codes import sentences_here
from accounts.domain.members import TenantChoice, tenant_ids_of, tenants_of


def studio(request: HttpRequest) -> dict[str, Any]:
    """`caller` (or `None`), `tenants` (of a person who has several), `language`, `lane`, `release`.

    `codes`: the sentences of the catalogue for scripts, as JSON.
    """
    caller = getattr(request, "caller", None)

    def tenants() -> list[TenantChoice]:
        # Who has one has nothing to switch: for most people that costs one statement a page.
        if caller is None or caller.user is None or len(tenant_ids_of(caller.user)) < 2:
            return []
        return tenants_of(caller.user)

    return {
        "caller": caller,
        "tenants": SimpleLazyObject(tenants),
        "language": get_language(),
        "lane": settings.STUDIO_LANE,
        "release": settings.RELEASE,
        "codes": SimpleLazyObject(lambda: json.dumps(sentences_here(), ensure_ascii=False, separators=(",", ":"))),
    }
