"""allauth's views as our pages: never cached, with a status that says how it went, and asked for in moderation."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models.user import normal_email
from accounts.web.throttle import Throttle, words_of_waiting

View = Callable[..., HttpResponseBase]


def page(view: Any, *, throttle: Throttle | None = None) -> View:
    """Wrap one of allauth's views.

    A form that comes back with errors is a 400, or a 429 where it had to wait. With a throttle every POST counts, by
    place and by place with the e-mail address in it, before anything is looked up.
    """

    @never_cache
    @require_http_methods(["GET", "HEAD", "POST"])  # its classes take a PUT for a POST, past our throttle
    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if throttle is not None and request.method == "POST":
            email, address = normal_email(request.POST.get("email", "")), getattr(request, "client_address", None)
            if wait_s := throttle.wait(person=email, address=address):
                return wait_page(request, wait_s)
            throttle.count(person=email, address=address)
        response: HttpResponseBase = view(request, *args, **kwargs)
        # Whatever succeeds is a redirect.
        if request.method == "POST" and isinstance(response, TemplateResponse) and response.status_code == 200:
            say_refused(request, response)
        return response

    return shown


def say_refused(request: HttpRequest, response: HttpResponseBase) -> None:
    """The status of a form that comes back."""
    wait_s = getattr(request, "wait_s", 0)
    response.status_code = 429 if wait_s else 400
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)


def wait_page(request: HttpRequest, wait_s: int) -> HttpResponseBase:
    """Too many tries from there."""
    response = render(request, "accounts/wait.html", {"words": words_of_waiting(wait_s)}, status=429)
    response.headers["Retry-After"] = str(wait_s)
    return response
