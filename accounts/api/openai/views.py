"""What every view under `/v1/` stands on."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from accounts.api.openai.limits import ratelimit_headers
from accounts.api.views import CountedView
from accounts.domain.callers import Caller


class OpenAIView(CountedView):
    """A counted route that tells what is left in OpenAI's headers too. Its refusals have OpenAI's shape by its path."""

    refusal: Exception | None = None

    def handle_exception(self, exc: Exception) -> Any:
        """Remember why, for the headers."""
        self.refusal = exc
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """The six headers, for whom we know."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        caller = vars(request).get("_auth")  # as it was found; `request.auth` would judge refused credentials once more
        if isinstance(caller, Caller):
            for name, value in ratelimit_headers(caller, self.rate, self.refusal).items():
                answer.headers[name] = value
        return answer
