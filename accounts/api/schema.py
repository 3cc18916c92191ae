"""The OpenAPI description: how to authenticate, and what every refusal looks like."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

PROBLEM = {
    "type": "object",
    "description": "A refusal (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "example": "urn:qwenstudio:problem:invalid_api_key"},
        "title": {"type": "string", "example": "Unauthorized"},
        "status": {"type": "integer", "example": 401},
        "detail": {"type": "string", "example": "invalid api key"},
        "instance": {"type": "string", "example": "/api/v1/images"},
        "code": {"type": "string", "example": "invalid_api_key"},
        "request_id": {"type": "string"},
        "limit": {"type": "string", "example": "images_per_day", "description": "The limit that refused."},
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    },
}


class StudioSchema(AutoSchema):
    """Names operations after method and path; every one may answer with a problem."""

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation:
            operation["responses"]["default"] = {
                "description": "A refusal",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
        return operation


def add_problem(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Puts the schema of `Problem` into the description (a hook of `SPECTACULAR_SETTINGS`)."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    return result


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.api.authentication.KeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "qs_live_…"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "studio_session"}
