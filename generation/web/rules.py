"""The page of the rules for answers, for admins: make, switch off, delete, and try them on a text."""

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
from generation.books.rules import Trial, change_rule, delete_rule, list_rules, make_rule, try_rules
from generation.web.ruleforms import RuleForm, TrialForm


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
@same_tenant
def rules(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Look; a POST makes one."""
    if not caller.has(Right.MANAGE_RULES):
        return render(request, "403.html", status=403)
    if request.method != "POST":
        return _page(request, caller)
    form, status = RuleForm(request.POST), 400
    if form.is_valid():
        try:
            make_rule(by=caller, **form.cleaned_data)
        except StudioError as error:
            status = refuse_form(form, error)
        else:
            messages.success(request, _("The rule holds for answers that begin from now on."))
            return redirect("rules")
    return _page(request, caller, form=form, status=status)


@never_cache
@require_POST
@member_page
@same_tenant
def rules_try(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """What the rules make of a text. Nothing is kept."""
    if not caller.has(Right.MANAGE_RULES):
        return render(request, "403.html", status=403)
    form = TrialForm(request.POST)
    if not form.is_valid():
        return _page(request, caller, trial_form=form, status=400)
    try:
        trial = try_rules(by=caller, answer=form.cleaned_data["answer"])
    except StudioError as error:
        return _page(request, caller, trial_form=form, status=refuse_form(form, error))
    return _page(request, caller, trial_form=form, trial=trial)


@require_POST
@member_page
def rule_switch(request: StudioRequest, caller: Caller, rule: UUID) -> HttpResponseBase:
    """On or off, as `enabled` says."""
    try:
        change_rule(by=caller, rule_id=rule, enabled=request.POST.get("enabled") == "true")
    except NotAllowed:
        return render(request, "403.html", status=403)
    except NotFound:
        raise Http404 from None
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
    return redirect("rules")


@require_POST
@member_page
def rule_delete(request: StudioRequest, caller: Caller, rule: UUID) -> HttpResponseBase:
    """For good; the page has asked before."""
    try:
        gone = delete_rule(by=caller, rule_id=rule)
    except NotAllowed:
        return render(request, "403.html", status=403)
    except NotFound:
        raise Http404 from None
    messages.success(request, _("%(name)s is deleted.") % {"name": gone.text})
    return redirect("rules")


def _page(
    request: StudioRequest,
    caller: Caller,
    *,
    form: RuleForm | None = None,
    trial_form: TrialForm | None = None,
    trial: Trial | None = None,
    status: int = 200,
) -> HttpResponseBase:
    context: dict[str, Any] = {
        "rules": list_rules(by=caller),
        "form": form or RuleForm(),
        "trial_form": trial_form or TrialForm(),
        "trial": trial,
        "may_change": caller.has(Right.CHANGE_TENANT),
        "may_see_audit": caller.has(Right.SEE_AUDIT),
    }
    return render(request, "generation/rules.html", context, status=status)
