"""Which pages need whom: for people, who are led to the sign-in page instead of being refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import capfirst

from accounts.domain.callers import Caller
from accounts.domain.codes import say_error
from accounts.enums import Scope
from accounts.errors import TenantClosing, TenantSwitched
from accounts.models import User
from accounts.web.requests import StudioRequest

P = ParamSpec("P")
Page = Callable[Concatenate[StudioRequest, Caller, P], HttpResponseBase]
PersonPage = Callable[Concatenate[StudioRequest, User, P], HttpResponseBase]


def member_page(view: Page[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """The view gets `(request, caller, …)`; who is not signed in goes to the sign-in page and comes back."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        caller = getattr(request, "caller", None)
        if caller is None:
            return _turn_away(request)
        if not caller.may(Scope.IMAGES_READ):
            return render(request, "403.html", status=403)
        return view(request, caller, *args, **kwargs)  # type: ignore[arg-type]

    return guarded


def person_page(view: PersonPage[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """The view gets `(request, person, …)`: for whoever is signed in, also where no tenant lets them in."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        person = getattr(request, "person", None)
        if person is None:
            return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")
        return view(request, person, *args, **kwargs)  # type: ignore[arg-type]

    return guarded


def same_tenant(view: Page[P]) -> Page[P]:
    """For forms that name no row of the tenant's own: one from a tab of another organisation changes nothing.

    A person is no such row: who is in both organisations would be changed in the wrong one.
    """

    @wraps(view)
    def guarded(request: StudioRequest, caller: Caller, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.method == "POST" and request.POST.get("here", str(caller.tenant)) != str(caller.tenant):
            messages.error(request, capfirst(say_error(TenantSwitched())))
            return redirect("team")
        return view(request, caller, *args, **kwargs)

    return guarded


def _turn_away(request: HttpRequest) -> HttpResponseBase:
    person = getattr(request, "person", None)
    if person is None:
        # The way back only for addresses that can be asked for again.
        return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")
    error = getattr(request, "caller_error", None)
    if isinstance(error, TenantClosing):
        return redirect("organisations")  # where an owner can keep it
    if error is None and person.is_staff:
        return redirect("admin:index")
    return render(request, "accounts/no_tenant.html", {"reason": say_error(error) if error else ""}, status=403)
