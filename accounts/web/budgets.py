"""The page of one member's budget."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.domain.budgets import budget_used, get_budget, set_budget
from accounts.domain.callers import Caller
from accounts.domain.limits import MAX_LARGE_LIMIT, MAX_LIMIT, Budget
from accounts.domain.roles import Right
from accounts.errors import NotFound, StudioError
from accounts.models import User
from accounts.web.access import member_page, same_tenant
from accounts.web.forms import refuse_form
from accounts.web.requests import StudioRequest

# Each field with its limit and how many of the limit's units one of the field's is.
FIELDS = {
    "images_per_day": ("images_per_day", 1),
    "images_per_month": ("images_per_month", 1),
    "gpu_seconds_per_day": ("gpu_ms_per_day", 1000),
    "gpu_seconds_per_month": ("gpu_ms_per_month", 1000),
    "tokens_per_day": ("tokens_per_day", 1),
}


def _limit(label: Any, most: int = MAX_LIMIT) -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"class": "input", "inputmode": "numeric"})
    return forms.IntegerField(label=label, required=False, min_value=1, max_value=most, widget=widget)


class BudgetForm(forms.Form):
    """What a member may use; empty is as much as the tenant."""

    images_per_day = _limit(_("Images a day"))
    images_per_month = _limit(_("Images a month"))
    gpu_seconds_per_day = _limit(_("GPU seconds a day"), MAX_LARGE_LIMIT // 1000)
    gpu_seconds_per_month = _limit(_("GPU seconds a month"), MAX_LARGE_LIMIT // 1000)
    tokens_per_day = _limit(_("Chat tokens a day"), MAX_LARGE_LIMIT)

    def limits(self) -> dict[str, int | None]:
        """The valid form as `set_budget` takes it."""
        data = self.cleaned_data
        return {limit: data[name] * unit if data[name] is not None else None for name, (limit, unit) in FIELDS.items()}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
@same_tenant
def budget(request: StudioRequest, caller: Caller, member: UUID) -> HttpResponseBase:
    """Look at it and set it; for those who may set budgets."""
    if not caller.has(Right.SET_BUDGETS):
        return render(request, "403.html", status=403)
    try:
        present = get_budget(by=caller, user=member)
    except NotFound:
        raise Http404 from None
    person = User.objects.get(pk=member)
    form, status = BudgetForm(request.POST if request.method == "POST" else None, initial=_initial(present)), 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                set_budget(by=caller, user=member, limits=form.limits())
            except StudioError as error:
                status = refuse_form(form, error)
            else:
                messages.success(request, _now("The budget of %(name)s is set.") % {"name": person.get_short_name()})
                return redirect("budget", member=member)
    used = budget_used(tenant=caller.tenant, user=member)
    rows = [(form[name], limit, used.get(limit, 0)) for name, (limit, _unit) in FIELDS.items()]
    return render(request, "accounts/budget.html", {"form": form, "rows": rows, "person": person}, status=status)


def _initial(present: Budget) -> dict[str, int | None]:
    values = {name: (getattr(present, limit), unit) for name, (limit, unit) in FIELDS.items()}
    # Rounded up: a budget that a program set to the millisecond is not lowered by looking at it.
    return {name: None if value is None else -(-value // unit) for name, (value, unit) in values.items()}
