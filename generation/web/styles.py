"""The page of the styles: for everybody to read, for admins to make, change, order and delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.domain.callers import Caller
from accounts.domain.codes import say_error
from accounts.domain.roles import Right
from accounts.errors import NotAllowed, NotFound, StudioError
from accounts.web.access import member_page, same_tenant
from accounts.web.forms import refuse_form
from accounts.web.requests import StudioRequest
from generation.domain.styles import SLOT, change_style, delete_style, get_style, list_styles, make_style
from generation.web.styleforms import StyleForm

WAYS = {"up": -1, "down": 1}
EMPTY = {"prompt": SLOT}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
@same_tenant
def styles(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Look; a POST makes one."""
    if request.method != "POST":
        return _page(request, caller, StyleForm(initial=EMPTY))
    if not caller.has(Right.MANAGE_STYLES):
        return render(request, "403.html", status=403)
    form, status = StyleForm(request.POST), 400
    if form.is_valid():
        try:
            made = make_style(by=caller, **form.cleaned_data)
        except StudioError as error:
            status = refuse_form(form, error)
        else:
            messages.success(request, _("%(name)s can be chosen in the studio now.") % {"name": made.name})
            return redirect("styles")
    return _page(request, caller, form, status=status)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
def style(request: StudioRequest, caller: Caller, style: UUID) -> HttpResponseBase:
    """One of them, to be changed."""
    if not caller.has(Right.MANAGE_STYLES):
        return render(request, "403.html", status=403)
    try:
        row = get_style(style)
    except NotFound:
        raise Http404 from None
    initial = {"name": row.name, "prompt": row.prompt, "negative_prompt": row.negative_prompt}
    form, status = StyleForm(request.POST if request.method == "POST" else None, initial=initial), 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                change_style(by=caller, style_id=style, **form.cleaned_data)
            except NotFound:
                raise Http404 from None
            except StudioError as error:
                status = refuse_form(form, error)
            else:
                messages.success(request, _("Saved."))
                return redirect("styles")
    return render(request, "generation/style.html", {"style": row, "form": form}, status=status)


@require_POST
@member_page
def style_move(request: StudioRequest, caller: Caller, style: UUID) -> HttpResponseBase:
    """One place up or down."""
    step = WAYS.get(request.POST.get("way", ""), 0)
    try:
        change_style(by=caller, style_id=style, position=max(0, get_style(style).position + step))
    except NotAllowed:
        return render(request, "403.html", status=403)
    except NotFound:
        raise Http404 from None
    return redirect("styles")


@require_POST
@member_page
def style_delete(request: StudioRequest, caller: Caller, style: UUID) -> HttpResponseBase:
    """For good; the page has asked before."""
    try:
        gone = delete_style(by=caller, style_id=style)
    except NotAllowed:
        return render(request, "403.html", status=403)
    except NotFound:
        raise Http404 from None
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
    else:
        messages.success(request, _("%(name)s is deleted.") % {"name": gone.name})
    return redirect("styles")


def _page(request: StudioRequest, caller: Caller, form: StyleForm, *, status: int = 200) -> HttpResponseBase:
    context: dict[str, Any] = {
        "styles": list_styles(),
        "form": form,
        "may_manage": caller.has(Right.MANAGE_STYLES),
        "may_change": caller.has(Right.CHANGE_TENANT),
        "may_see_audit": caller.has(Right.SEE_AUDIT),
    }
    return render(request, "generation/styles.html", context, status=status)
