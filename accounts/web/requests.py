"""What `TenantMiddleware` adds to a request, for type checkers: views annotate `request: StudioRequest`."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.domain.callers import Caller
from accounts.errors import StudioError
from accounts.models import User


class StudioRequest(HttpRequest):
    """A request behind `TenantMiddleware`."""

    caller: Caller | None
    caller_error: StudioError | None
    person: User | None
    """Who is signed in, whether or not a tenant could be found for them."""
    client_address: str | None
