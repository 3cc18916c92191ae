"""The organisations that a person belongs to: switch, found another one, keep one that is about to be deleted."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.domain.closing import keep_tenant
from accounts.domain.codes import say_error
from accounts.domain.logos import logo_path
from accounts.domain.members import TenantChoice, tenant_ids_of, tenants_of
from accounts.domain.roles import Right
from accounts.domain.tenants import found_tenant
from accounts.enums import Role
from accounts.errors import NotAllowed, NotFound, StudioError
from accounts.ids import read_id
from accounts.models import User
from accounts.web.access import person_page
from accounts.web.entrance import choose_tenant
from accounts.web.forms import refuse_form
from accounts.web.requests import StudioRequest
from accounts.web.team_forms import NewOrganisationForm


@never_cache
@require_safe
@person_page
def organisations(request: StudioRequest, person: User) -> HttpResponseBase:
    """All of them, with what can be done about each."""
    return _page(request, person)


@require_POST
@person_page
def switch(request: StudioRequest, person: User) -> HttpResponseBase:
    """Work in another one from now on; remembered in the session."""
    tenant = read_id(request.POST.get("tenant", ""))
    if tenant not in tenant_ids_of(person.pk):
        raise Http404
    try:
        choose_tenant(request, person, tenant)
    except NotAllowed as error:
        # Closed, or not from here: they stay where they are.
        messages.error(request, capfirst(say_error(error)))
        return redirect("organisations")
    return redirect("home")


@require_POST
@person_page
def new(request: StudioRequest, person: User) -> HttpResponseBase:
    """A further one, where `STUDIO_SIGNUP` is open."""
    form, status = NewOrganisationForm(request.POST), 400
    if form.is_valid():
        try:
            made = found_tenant(user=person, name=form.cleaned_data["name"])
        except StudioError as error:
            status = refuse_form(form, error, field="name")
        else:
            choose_tenant(request, person, made.pk)
            messages.success(request, _("%(name)s is yours. Invite your team.") % {"name": made.name})
            return redirect("team")
    return _page(request, person, form=form, status=status)


@require_POST
@person_page
def keep(request: StudioRequest, person: User, tenant: UUID) -> HttpResponseBase:
    """Undo its deletion."""
    try:
        kept = keep_tenant(user=person, tenant_id=tenant, address=request.client_address)
    except NotFound:
        raise Http404 from None
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
    else:
        messages.success(request, _("%(name)s stays. Everybody can work in it again.") % {"name": kept.name})
    return redirect("organisations")


def _page(
    request: StudioRequest, person: User, *, form: NewOrganisationForm | None = None, status: int = 200
) -> HttpResponseBase:
    here = request.caller.tenant if request.caller else None
    context = {
        "choices": [_choice(choice, here) for choice in tenants_of(person.pk)],
        "may_found": settings.STUDIO_SIGNUP == "open",
        "form": form or NewOrganisationForm(),
    }
    return render(request, "accounts/organisations.html", context, status=status)


def _choice(choice: TenantChoice, here: UUID | None) -> dict[str, Any]:
    return {
        "tenant": choice,
        "role": Role(choice.role).label,
        "logo": logo_path(choice.id, choice.logo) if choice.logo else "",
        "here": choice.id == here,
        "may_keep": choice.state == "closing" and Right.DELETE_TENANT.is_held_by(choice.role),
    }
