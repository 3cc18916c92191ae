"""Asking before something is taken away, also where no script does.

A form that must be confirmed carries its question in hidden fields (`parts/ask.html`). The script asks it in a dialogue
and takes the fields out; a form that still has them was sent without: before the script had loaded, or with none. Then
the question is a page of its own, and nothing has happened yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers

from accounts.web.paths import own_path

ASK_FIELDS = ("ask", "ask-text", "ask-yes", "ask-back")


class AskMiddleware:
    """Stands behind the CSRF check: only the studio's own pages can put the words here."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        """The question, in place of what the form would do."""
        if request.method != "POST" or request.path.startswith(("/api/", "/v1/")) or not request.POST.get("ask"):
            return None
        left_out = (*ASK_FIELDS, "csrfmiddlewaretoken")
        context = {
            "question": request.POST["ask"],
            "text": request.POST.get("ask-text", ""),
            "yes": request.POST.get("ask-yes", ""),
            "back": own_path(request.POST.get("ask-back", "")) or "/",
            "fields": [
                (name, value) for name, values in request.POST.lists() if name not in left_out for value in values
            ],
        }
        response = render(request, "ask.html", context)
        add_never_cache_headers(response)
        return response
