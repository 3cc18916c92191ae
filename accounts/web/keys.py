"""The pages of API keys: the list, one key, and the one time that a secret is shown."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.api.bodies import status_of
from accounts.domain.callers import Caller
from accounts.domain.codes import say_error
from accounts.domain.keychange import change_key
from accounts.domain.keys import find_key, list_keys, list_own_keys, make_key, revoke_key
from accounts.domain.leaked import report_leaked_key
from accounts.domain.roles import Right
from accounts.domain.rotate import finish_rotation, rotate_key
from accounts.errors import InvalidField, NotAllowed, NotFound, StudioError
from accounts.models import ApiKey
from accounts.web.access import member_page, same_tenant
from accounts.web.forms import refuse_form
from accounts.web.keyforms import ChangeKeyForm, KeyForm, LeakedKeyForm, RotateForm
from accounts.web.requests import StudioRequest

SHOWN = 50


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
@same_tenant
def keys(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """List and form; after a POST the same page with the new secret, which no later request can show again."""
    form = KeyForm(request.POST or None, caller=caller)
    once: dict[str, Any] = {}
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                key, secret = make_key(by=caller, **form.wishes())
            except StudioError as error:
                status = _refuse(form, error)
            else:
                once, status = {"secret": secret, "secret_of": key}, 201
                form = KeyForm(caller=caller)
    return render(request, "accounts/keys.html", {"form": form, **once, **_list(request, caller)}, status=status)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
def key_page(request: StudioRequest, caller: Caller, key: UUID) -> HttpResponseBase:
    """One key: what it is, and the form that changes it."""
    found = _find(caller, key)
    form = ChangeKeyForm(request.POST or None, caller=caller, key=found)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                change_key(by=caller, key_id=key, changes=form.changes())
            except NotFound:
                raise Http404 from None
            except StudioError as error:
                status = _refuse(form, error)
            else:
                messages.success(request, _("Saved: the next request with this key meets the new values."))
                return redirect("key", key=key)
    return _show(request, caller, found, form=form, status=status)


@never_cache
@require_POST
@member_page
def rotate(request: StudioRequest, caller: Caller, key: UUID) -> HttpResponseBase:
    """A second secret, shown once."""
    form = RotateForm(request.POST)
    found = _find(caller, key)
    if not form.is_valid():
        return _show(request, caller, found, rotation=form, status=400)
    try:
        fresh, secret = rotate_key(by=caller, key_id=key, overlap_s=form.cleaned_data["overlap_s"])
    except NotFound:
        raise Http404 from None
    except StudioError as error:
        status = _refuse(form, error)
        return _show(request, caller, found, rotation=form, status=status)
    return _show(request, caller, fresh, secret=secret)


@require_POST
@member_page
def finish(request: StudioRequest, caller: Caller, key: UUID) -> HttpResponseBase:
    """End the old secret of a rotation."""
    try:
        finish_rotation(by=caller, key_id=key)
    except NotFound:
        raise Http404 from None
    except StudioError as error:
        return _show(request, caller, _find(caller, key), trouble=capfirst(say_error(error)), status=status_of(error))
    messages.success(request, _("The old secret has ended."))
    return redirect("key", key=key)


@require_POST
@member_page
def revoke(request: StudioRequest, caller: Caller, key: UUID) -> HttpResponseBase:
    """End a key; the next request with it is refused."""
    try:
        ended = revoke_key(by=caller, key_id=key)
    except NotFound:
        raise Http404 from None
    except NotAllowed as error:
        raise PermissionDenied(say_error(error)) from None
    messages.success(request, _("%(name)s is revoked: the next request with it is refused.") % {"name": ended.name})
    return redirect("keys")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def leaked(request: HttpRequest) -> HttpResponseBase:
    """For whoever has found a key; signed in or not, and told the same whether there was such a key."""
    form = LeakedKeyForm(request.POST or None)
    status, received = 200, False
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                report_leaked_key(secret=form.cleaned_data["key"])
            except StudioError as error:
                status = _refuse(form, error)
            else:
                status, received = 202, True
    return render(request, "accounts/leaked.html", {"form": form, "received": received}, status=status)


def _find(caller: Caller, key: UUID) -> ApiKey:
    try:
        return find_key(by=caller, key_id=key)
    except NotFound:
        raise Http404 from None
    except NotAllowed as error:
        raise PermissionDenied(say_error(error)) from None


def _list(request: StudioRequest, caller: Caller) -> dict[str, Any]:
    """One's own keys, in use or revoked; owners and admins see everybody's."""
    revoked = request.GET.get("revoked") == "true"
    may_make, sees_all = caller.has(Right.MAKE_KEYS), caller.has(Right.MANAGE_KEYS)
    look = list_keys if may_make or sees_all else list_own_keys
    try:
        page = look(by=caller, revoked=revoked, cursor=request.GET.get("cursor"), limit=SHOWN)
    except InvalidField:
        raise Http404 from None
    return {
        "page": page,
        "revoked": revoked,
        "may_make": may_make,
        "sees_all": sees_all,
        "base": settings.STUDIO_URL,
    }


def _show(
    request: StudioRequest,
    caller: Caller,
    key: ApiKey,
    *,
    form: ChangeKeyForm | None = None,
    rotation: RotateForm | None = None,
    secret: str = "",
    trouble: str = "",
    status: int = 200,
) -> HttpResponseBase:
    is_own = key.user_id == caller.user
    shown = {
        "key": key,
        "secrets": key.live_secrets(),
        "form": form or ChangeKeyForm(caller=caller, key=key),
        "rotation": rotation or RotateForm(),
        "is_own": is_own,
        "may_rotate": is_own and caller.has(Right.MAKE_KEYS),
        "secret": secret,
        "secret_of": key,
        "trouble": trouble,
        "base": settings.STUDIO_URL,
    }
    return render(request, "accounts/key.html", shown, status=status)


def _refuse(form: Form, error: StudioError) -> int:
    return refuse_form(form, error, field="expires_on" if error.field == "expires_at" else None)
