"""The page of the team: for admins its members and invitations, for others where they are and whom to ask."""

from __future__ import annotations

from collections.abc import Callable
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
from accounts.domain.invitations import (
    invite_person,
    open_invitations,
    renew_invitation,
    revoke_invitation,
    state_of,
)
from accounts.domain.logos import logo_path
from accounts.domain.members import change_role, list_members, owners_of, remove_member
from accounts.domain.roles import Right, right_over
from accounts.domain.tenants import get_tenant
from accounts.enums import Role
from accounts.errors import InvalidField, NotFound, StudioError
from accounts.models import Membership
from accounts.web.access import member_page, same_tenant
from accounts.web.forms import refuse_form
from accounts.web.requests import StudioRequest
from accounts.web.team_forms import InvitationForm, roles_for

PER_PAGE = 50


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
@same_tenant
def team(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Look; a POST invites."""
    if not caller.has(Right.MANAGE_MEMBERS):
        status = 403 if request.method == "POST" else 200
        return render(request, "accounts/team_own.html", _own(caller), status=status)
    form, status = InvitationForm(request.POST if request.method == "POST" else None, caller=caller), 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                invite_person(by=caller, **form.cleaned_data)
            except StudioError as error:
                status = refuse_form(form, error)
            else:
                said = _("An invitation is on its way to %(email)s.") % {"email": form.cleaned_data["email"]}
                messages.success(request, said)
                return redirect("team")
    return render(request, "accounts/team.html", {"form": form, **_everybody(request, caller)}, status=status)


@require_POST
@member_page
@same_tenant
def member_role(request: StudioRequest, caller: Caller, member: UUID) -> HttpResponseBase:
    """Another role."""
    role = request.POST.get("role", "")

    def act() -> str:
        changed = change_role(by=caller, user_id=member, role=role)
        name = changed.user.get_short_name()
        return _("%(name)s is %(role)s now.") % {"name": name, "role": Role(changed.role).label}

    return _try(request, act)


@require_POST
@member_page
@same_tenant
def member_remove(request: StudioRequest, caller: Caller, member: UUID) -> HttpResponseBase:
    """Out, with the next request."""

    def act() -> str:
        remove_member(by=caller, user_id=member)
        return _("They are no longer a member, and their API keys are revoked.")

    return _try(request, act)


@require_POST
@member_page
def invitation_renew(request: StudioRequest, caller: Caller, invitation: UUID) -> HttpResponseBase:
    """Once more, with a new link."""

    def act() -> str:
        sent = renew_invitation(by=caller, invitation_id=invitation)
        return _("A new link is on its way to %(email)s; the old one is worth nothing.") % {"email": sent.email}

    return _try(request, act)


@require_POST
@member_page
def invitation_revoke(request: StudioRequest, caller: Caller, invitation: UUID) -> HttpResponseBase:
    """Never mind."""

    def act() -> str:
        gone = revoke_invitation(by=caller, invitation_id=invitation)
        return _("The invitation of %(email)s is taken back.") % {"email": gone.email}

    return _try(request, act)


@require_POST
@member_page
@same_tenant
def leave(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Oneself."""
    if caller.user is None:
        raise Http404
    try:
        remove_member(by=caller, user_id=caller.user)
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
        return redirect("team")
    messages.success(request, _("You have left %(tenant)s.") % {"tenant": caller.tenant_name})
    return redirect("organisations")


def _try(request: StudioRequest, act: Callable[[], str]) -> HttpResponseBase:
    """Do it, say how it went, and come back to the page."""
    try:
        said = act()
    except NotFound:
        raise Http404 from None
    except StudioError as error:
        if error.kind == "denied" and error.code == "not_allowed":
            return render(request, "403.html", status=403)
        messages.error(request, capfirst(say_error(error)))
    else:
        messages.success(request, said)
    return redirect("team")


def _everybody(request: StudioRequest, caller: Caller) -> dict[str, Any]:
    try:
        page = list_members(by=caller, cursor=request.GET.get("cursor") or None, limit=PER_PAGE)
    except InvalidField:
        raise Http404 from None
    return {
        "members": [_row(membership, caller) for membership in page.results],
        "next": page.next,
        "previous": page.previous,
        "invitations": [
            {"row": row, "state": state_of(row), "role": Role(row.role).label, "mine": caller.has(right_over(row.role))}
            for row in open_invitations(by=caller)
        ],
        "roles": roles_for(caller),
        "rights": rights_table(),
        **_head(caller),
    }


def _row(membership: Membership, caller: Caller) -> dict[str, Any]:
    me = membership.user_id == caller.user
    return {
        "user": membership.user,
        "role": membership.role,
        "title": Role(membership.role).label,
        "joined": membership.created_at,
        "me": me,
        "mine": not me and caller.has(right_over(membership.role)),
    }


def _own(caller: Caller) -> dict[str, Any]:
    return {
        "role": Role(caller.role).label,
        "owners": owners_of(caller.tenant),
        "rights": rights_table(),
        **_head(caller),
    }


def _head(caller: Caller) -> dict[str, Any]:
    tenant = get_tenant(by=caller)
    return {
        "tenant": tenant,
        "logo": logo_path(tenant.pk, tenant.logo) if tenant.logo else "",
        "may_change": caller.has(Right.CHANGE_TENANT),
        "may_see_audit": caller.has(Right.SEE_AUDIT),
    }


def rights_table() -> dict[str, Any]:
    """What each role may do, as rows for a template."""
    roles = list(Role)
    return {
        "roles": [role.label for role in roles],
        "rows": [(_(right.title), [right.is_held_by(role) for role in roles]) for right in Right],
    }
