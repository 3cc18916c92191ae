"""The page of the organisation itself: name, logo and networks; for owners also its export and its end."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.domain.callers import Caller
from accounts.domain.closing import GRACE, ask_deletion
from accounts.domain.codes import say_error
from accounts.domain.exports import KEPT, UNDER_WAY, export_url, list_exports, request_export
from accounts.domain.logos import MAX_BYTES, logo_path
from accounts.domain.roles import Right
from accounts.domain.stored import format_bytes
from accounts.domain.tenants import change_tenant, get_tenant
from accounts.errors import NotAllowed, StudioError
from accounts.models import Export
from accounts.web.access import member_page, same_tenant
from accounts.web.forms import refuse_form
from accounts.web.requests import StudioRequest
from accounts.web.team_forms import DeletionForm, OrganisationForm

EXPORTS = 3


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
@same_tenant
def organisation(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Look and change."""
    if not caller.has(Right.CHANGE_TENANT):
        return render(request, "403.html", status=403)
    if request.method != "POST":
        return _page(request, caller)
    form, status = OrganisationForm(request.POST, request.FILES), 400
    if form.is_valid():
        try:
            change_tenant(by=caller, address=request.client_address, **form.wishes())
        except StudioError as error:
            status = refuse_form(form, error)
        else:
            messages.success(request, _("Saved."))
            return redirect("organisation")
    return _page(request, caller, form=form, status=status)


@require_POST
@member_page
@same_tenant
def ask_export(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Everything, as one file."""
    try:
        request_export(by=caller)
    except NotAllowed:
        return render(request, "403.html", status=403)
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
    else:
        messages.success(request, _("The export is being made. You get an e-mail when it is ready."))
    return redirect("organisation")


@require_POST
@member_page
@same_tenant
def delete_organisation(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """In thirty days; until then an owner can keep it."""
    form, status = DeletionForm(request.POST), 400
    if form.is_valid():
        try:
            moment = ask_deletion(by=caller, confirm=form.cleaned_data["confirm"])
        except NotAllowed:
            return render(request, "403.html", status=403)
        except StudioError as error:
            status = refuse_form(form, error)
        else:
            said = _("%(tenant)s will be deleted after %(day)s. Nobody can work in it from now on.")
            messages.success(request, said % {"tenant": caller.tenant_name, "day": f"{moment:%Y-%m-%d}"})
            return redirect("organisations")
    return _page(request, caller, deletion=form, status=status)


def _page(
    request: StudioRequest,
    caller: Caller,
    *,
    form: OrganisationForm | None = None,
    deletion: DeletionForm | None = None,
    status: int = 200,
) -> HttpResponseBase:
    if not caller.has(Right.CHANGE_TENANT):
        return render(request, "403.html", status=403)
    tenant = get_tenant(by=caller)
    may_export = caller.has(Right.EXPORT_TENANT)
    exports = list_exports(by=caller, cursor=None, limit=EXPORTS).results if may_export else []
    initial = {"name": tenant.name, "networks": "\n".join(tenant.networks), "keeps_chats": tenant.keeps_chats}
    context = {
        "tenant": tenant,
        "logo": logo_path(tenant.pk, tenant.logo) if tenant.logo else "",
        "form": form or OrganisationForm(initial=initial),
        "max_logo": MAX_BYTES,
        "address": request.client_address or "",
        "may_export": may_export,
        "exports": [_export(row) for row in exports],
        "runs": any(row.status in UNDER_WAY for row in exports),
        "kept": KEPT.days,
        "may_delete": caller.has(Right.DELETE_TENANT),
        "deletion": deletion or DeletionForm(),
        "deletion_tried": deletion is not None,
        "grace": GRACE.days,
        "may_change": True,
        "may_see_audit": caller.has(Right.SEE_AUDIT),
    }
    return render(request, "accounts/organisation.html", context, status=status)


def _export(row: Export) -> dict[str, Any]:
    return {
        "row": row,
        "url": export_url(row) and f"/files/exports/{row.pk}",
        "size": format_bytes(row.bytes),
        "runs": row.status in UNDER_WAY,
    }
