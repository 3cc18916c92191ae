"""Who may call a route."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.domain.callers import Caller
from accounts.errors import NotAllowed, NotSignedIn

# For `required_scopes`: whoever is known may call it.
ANYBODY_KNOWN = ""
# Likewise, because the domain asks for a right, which is a role and a scope.
BY_RIGHT = ANYBODY_KNOWN


class HasScope(BasePermission):
    """Asks for the scope that the view names for the method: `required_scopes = {"GET": "images:read"}`.

    A method without an entry is refused: forgetting one closes a route instead of opening it.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            raise NotSignedIn("send an api key (Authorization: Bearer qs_…) or sign in")
        if request.method == "OPTIONS":
            return True
        method = "GET" if request.method == "HEAD" else str(request.method)
        scope = getattr(view, "required_scopes", {}).get(method)
        if scope is None:
            raise NotAllowed("this route is closed to api callers")
        if scope != ANYBODY_KNOWN:
            caller.require_scope(scope)
        return True
