"""The page of API keys: make one (its secret is shown once), see them, revoke them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.domain.callers import Caller
from accounts.domain.codes import say_error
from accounts.domain.keys import make_key, revoke_key
from accounts.enums import Scope
from accounts.errors import NotAllowed, NotFound, StudioError
from accounts.models import ApiKey
from accounts.web.access import member_page
from accounts.web.forms import KeyForm
from accounts.web.requests import StudioRequest

SHOWN = 200


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
def keys(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """List and form; after a POST the same page with the new secret, which no later request can show again."""
    form = KeyForm(request.POST or None, caller=caller)
    secret, status = "", 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                _key, secret = make_key(by=caller, **form.wishes())
            except StudioError as error:
                status = 403 if isinstance(error, NotAllowed) else 400
                form.add_error(error.field if error.field in form.fields else None, say_error(error))
            else:
                form, status = KeyForm(caller=caller), 201
    chosen = request.POST.getlist("scopes") if form.is_bound else form.fields["scopes"].initial
    return render(
        request,
        "accounts/keys.html",
        {
            "form": form,
            "chosen": chosen,
            "secret": secret,
            "keys": _keys_of(caller),
            "may_make": caller.may(Scope.KEYS_WRITE),
            "base": settings.STUDIO_URL,
        },
        status=status,
    )


@require_POST
@member_page
def revoke(request: StudioRequest, caller: Caller, key: UUID) -> HttpResponseBase:
    """End a key; the next request with it is refused."""
    try:
        ended = revoke_key(by=caller, key_id=key)
    except NotFound:
        raise Http404 from None
    except NotAllowed:
        return render(request, "403.html", status=403)
    messages.success(request, _("%(name)s is revoked: the next request with it is refused.") % {"name": ended.name})
    return redirect("keys")


def _keys_of(caller: Caller) -> list[dict[str, Any]]:
    """One's own keys; owners and admins see everybody's."""
    rows = ApiKey.objects.select_related("user").order_by("revoked_at", "-created_at")
    if not caller.may(Scope.ADMIN):
        rows = rows.filter(user_id=caller.user)
    return [
        {"key": key, "mine": key.user_id == caller.user, "owner": key.user.get_short_name()} for key in rows[:SHOWN]
    ]
