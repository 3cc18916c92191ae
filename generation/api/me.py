"""/api/v1/me: who is calling, with which rights, and what is left of the limits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import ANYBODY_KNOWN
from accounts.api.views import CountedView, check_parameters
from accounts.domain.callers import Caller
from accounts.domain.left import LimitLeft, storage_left, usage_left
from generation.api import descriptions as describe

# What a request may be, as a client wants to know it before it asks.
REQUEST_LIMITS = (
    "concurrent_generations",
    "queue_length",
    "max_pixels",
    "max_steps",
    "max_images",
    "requests_per_minute",
    "tenant_requests_per_minute",
    "chat_requests_per_minute",
    "concurrent_chats",
    "retention_days",
)


class MeView(CountedView):
    """The caller."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN}

    @extend_schema(**describe.ME)
    def get(self, request: Request) -> Response:
        """Who am I."""
        check_parameters(request)
        return Response(present_caller(self.caller, usage_left(self.caller)))


def present_caller(caller: Caller, left: list[LimitLeft]) -> dict[str, Any]:
    """The caller's JSON. Limits that the plan does not set are `null`."""
    return {
        "tenant": {"id": str(caller.tenant), "name": caller.tenant_name},
        "member": {"id": str(caller.user), "role": caller.role} if caller.user else None,
        "key": {"id": str(caller.key)} if caller.key else None,
        "scopes": sorted(caller.scopes),
        "plan": {"slug": caller.plan.slug, **{name: getattr(caller.plan, name) for name in REQUEST_LIMITS}},
        "limits": [asdict(limit) for limit in left],
        "storage": asdict(storage_left(caller)),
    }
