"""The OpenAPI description: how to authenticate, and what every refusal looks like."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from accounts.api.bodies import JSON_TYPE, PROBLEM_TYPE
from accounts.api.openai.errors import is_openai

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


OPENAI_ERROR = {
    "type": "object",
    "description": "A refusal under `/v1/`, as OpenAI words it.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "example": "invalid api key"},
                "type": {"type": "string", "example": "invalid_request_error"},
                "param": {"type": ["string", "null"], "example": None, "description": "The field that is wrong."},
                "code": {"type": "string", "example": "invalid_api_key"},
            },
        },
    },
}

INTRODUCTION = """
Everything that a person can do in the studio, a program can do with a key.

**Try it here:** make a key on the page [API keys](/keys/), press *Authorize*, paste it under `apiKey`, and open
`POST /api/v1/images` → *Try it out*. Whoever is signed in to the studio can do without: this page then acts for them.

**With curl:** `-H "Authorization: Bearer qs_live_…"`. A key needs the scope of what it does: `images:read`,
`images:write`, `usage:read`, `keys:write` (keys), `admin` (members, invitations, the organisation, exports).

**Lists** are `{results, next, previous}`: follow `next` as it stands. **Times** are UTC. **Refusals** are
`application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)); programs branch on `code`. After a 429
or 503 wait for `Retry-After` seconds; with an `Idempotency-Key` trying again never draws twice.

**Programs that speak OpenAI's API** work with the base address `/v1`: there answers and errors are OpenAI's own.

The description itself: [/api/schema/](/api/schema/) (OpenAPI 3.1).
"""
OPENAI = "OpenAI's API"
# The first part of a path → the heading that it stands under.
HEADINGS = {
    "images": "Pictures",
    "zips": "Pictures",
    "deletions": "Pictures",
    "events": "Pictures",
    "estimates": "Pictures",
    "models": "Pictures",
    "inputs": "Pictures",
    "loras": "Pictures",
    "grids": "Pictures",
    "styles": "Pictures",
    "me": "Usage and limits",
    "usage": "Usage and limits",
    "keys": "API keys",
    "members": "Organisation",
    "invitations": "Organisation",
    "tenant": "Organisation",
    "rules": "Organisation",
    "exports": "Organisation",
}
TAGS = [
    {"name": "Pictures", "description": "Ask, watch, find, keep and remove; what there is to draw with"},
    {"name": "Usage and limits", "description": "Who the key is, what was used and what is left"},
    {"name": "API keys", "description": "Make, narrow, rotate and revoke"},
    {"name": "Organisation", "description": "Members, budgets, invitations, settings, rules for answers, exports"},
    {"name": OPENAI, "description": "For programs that speak OpenAI's API: base address `/v1`"},
]


class StudioSchema(AutoSchema):
    """Names operations after method and path; every one may answer with a problem."""

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation:
            name, kind = ("OpenAIError", JSON_TYPE) if is_openai(self.path) else ("Problem", PROBLEM_TYPE)
            operation["responses"]["default"] = {
                "description": "A refusal",
                "content": {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
            }
        return operation

    def get_tags(self) -> list[str]:
        """The heading of the operation in the page."""
        if is_openai(self.path):
            return [OPENAI]
        first = self.path.removeprefix("/api/v1/").partition("/")[0]
        return [HEADINGS.get(first, first)]


def add_problem(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Puts the schemas of refusals into the description (a hook of `SPECTACULAR_SETTINGS`)."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(Problem=PROBLEM, OpenAIError=OPENAI_ERROR)
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
