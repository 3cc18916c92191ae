"""OpenAI's errors: `{"error": {message, type, param, code}}`. Knows neither Django nor its REST framework.

Programs that were written for OpenAI compare `code` and `type`, so what has a name there has that name here; every
other code is ours (`docs/errors.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.errors import StudioError

PREFIX = "/v1/"
# Our codes that have another name there.
_NAMES = {
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "too_many_chats": "rate_limit_exceeded",
}
_TYPES = {"quota_exceeded": "insufficient_quota"}
# What a client of OpenAI's expects to be absent, where our own API calls it a wrong value.
_STATUSES = {"model_not_found": 404}
# Fields that a request names in another way (`generation/api/openai/fields.py`).
_FIELDS = {"width": "size", "height": "size", "body": None}
PATIENCE_S = 60
"""A client tries by itself again after a wait of so long at most; beyond it is told not to."""


def is_openai(path: str) -> bool:
    """Whether a path is answered in OpenAI's shapes."""
    return path.startswith(PREFIX)


def openai_status(code: str, status: int) -> int:
    """The status under `/v1/` of what is refused with `status` elsewhere."""
    return _STATUSES.get(code, status)


def openai_body(status: int, code: str, message: str, *, fields: Mapping[str, list[str]] | None = None) -> Any:
    """The body of a refusal. `fields`: those that are wrong; `param` is the first."""
    return {
        "error": {
            "message": message,
            "type": openai_type(status, code),
            "param": _param_of(fields),
            "code": _NAMES.get(code, code),
        }
    }


def openai_type(status: int, code: str) -> str:
    """The kind of an error in OpenAI's words."""
    if status >= 500:
        return "server_error"
    if status == 429:
        return _TYPES.get(code, "requests")
    return "invalid_request_error"


def retry_headers(error: StudioError) -> dict[str, str]:
    """`x-should-retry`, by which OpenAI's clients decide: else they repeat every 409, 429 and 5xx by themselves."""
    if error.repeats is not None:
        return {"x-should-retry": str(error.repeats).lower()}
    if error.kind == "limited" and (error.retry_after_s or 0) > PATIENCE_S:
        return {"x-should-retry": "false"}
    return {}


def _param_of(fields: Mapping[str, list[str]] | None) -> str | None:
    first = next(iter(fields or ()), None)
    return None if first is None else _FIELDS.get(first, first)
