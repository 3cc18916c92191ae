"""Plans and a tenant's own limits as forms: checked by name, and never below present use by mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.domain.amounts import metric_of, say_amount, say_limit
from accounts.domain.codes import say_error
from accounts.domain.limits import TENANT_LIMITS, UNLIMITED
from accounts.domain.overrides import (
    SHOWN,
    check_overrides,
    check_plan_change,
    check_plan_values,
    check_tenant_change,
)
from accounts.domain.stored import format_bytes
from accounts.errors import BelowUse, InvalidField
from accounts.models import Plan, Tenant

if TYPE_CHECKING:
    PlanFormBase = forms.ModelForm[Plan]
    TenantFormBase = forms.ModelForm[Tenant]
    Base = admin.ModelAdmin[Tenant]
else:
    PlanFormBase, TenantFormBase, Base = forms.ModelForm, forms.ModelForm, admin.ModelAdmin

NONE = "none"  # what is typed for no limit at all
PREFIX = "limit_"
OWN = tuple(f"{PREFIX}{name}" for name in TENANT_LIMITS)


class ConfirmMixin:
    """A box to tick that is there only once the form has said what it would do."""

    fields: dict[str, forms.Field]
    cleaned_data: dict[str, Any]

    def refuse(self, error: BelowUse) -> ValidationError:
        """The refusal in words; shows the box."""
        self.fields["confirm"].widget = forms.CheckboxInput()
        words = [
            _now("%(tenant)s: %(limit)s would be %(ceiling)s, used now %(used)s")
            % {
                "tenant": above.name,
                "limit": say_limit(above.limit),
                "ceiling": say_amount(above.ceiling, metric_of(above.limit)),
                "used": say_amount(above.used, metric_of(above.limit)),
            }
            for above in error.above[:SHOWN]
        ]
        if len(error.above) > SHOWN:
            words.append(_now("and %(n)d more") % {"n": len(error.above) - SHOWN})
        first = _now(
            "Below present use: everything new would be refused until the period ends or pictures are deleted. "
            "Nothing was changed; tick the box below to set it all the same."
        )
        return ValidationError([first, *words])


def _confirm() -> forms.BooleanField:
    return forms.BooleanField(
        label=_("I know that this is below present use"), required=False, widget=forms.HiddenInput
    )


class PlanForm(ConfirmMixin, PlanFormBase):
    """A plan; an empty limit means none."""

    confirm = _confirm()

    class Meta:
        model = Plan
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        values = {name: data[name] for name in TENANT_LIMITS if name in data}
        try:
            check_plan_values(values)
        except InvalidField as error:
            self.add_error(error.field if error.field in self.fields else None, say_error(error))
        if self.instance.pk and not self.errors and not data.get("confirm"):
            try:
                check_plan_change(before=Plan.objects.get(pk=self.instance.pk), after=values)
            except BelowUse as error:
                raise self.refuse(error) from None
        return data


def _own_limit(name: str) -> forms.CharField:
    title = cast("models.Field[Any, Any]", Plan._meta.get_field(name)).verbose_name
    widget = forms.TextInput(attrs={"size": 18, "autocomplete": "off"})
    return forms.CharField(label=title, required=False, max_length=20, strip=True, widget=widget)


class _TenantForm(ConfirmMixin, TenantFormBase):
    """A tenant, with a line for each limit that may differ from its plan's."""

    class Meta:
        model = Tenant
        fields = ("name", "plan", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plan = None if self.instance._state.adding else self.instance.plan
        for name in TENANT_LIMITS:
            field = f"{PREFIX}{name}"
            if name in (self.instance.limits or {}):
                value = self.instance.limits[name]
                self.initial.setdefault(field, NONE if value is None else str(value))
            if field in self.fields:
                self.fields[field].help_text = _help(name, plan)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if not set(OWN) <= self.fields.keys():
            return data
        limits: dict[str, int | None] = {}
        for name in TENANT_LIMITS:
            text = str(data.get(f"{PREFIX}{name}") or "").lower()
            if not text:
                continue
            try:
                limits[name] = None if text == NONE else int(text) if text.isascii() and text.isdigit() else -1
                check_overrides({name: limits[name]})
            except InvalidField as error:
                self.add_error(f"{PREFIX}{name}", say_error(error))
        if self.errors:
            return data
        if not self.instance._state.adding and not data.get("confirm"):
            before = Tenant.objects.select_related("plan").get(pk=self.instance.pk)
            try:
                check_tenant_change(tenant=before, plan=data["plan"], limits=limits)
            except BelowUse as error:
                raise self.refuse(error) from None
        # What this release does not know is another's: it stays.
        unknown = {name: value for name, value in self.instance.limits.items() if name not in TENANT_LIMITS}
        self.instance.limits = limits | unknown
        return data


# The admin wants to find the fields of its page in the class.
TenantForm: type[_TenantForm] = type(
    "TenantForm",
    (_TenantForm,),
    {f"{PREFIX}{name}": _own_limit(name) for name in TENANT_LIMITS} | {"confirm": _confirm(), "__doc__": "A tenant."},
)


def _help(name: str, plan: Plan | None) -> str:
    words = [_now("or “none”")] if name in UNLIMITED else []
    if plan is not None:
        value = getattr(plan, name)
        words.insert(0, _now("plan: %(value)s") % {"value": _now("none") if value is None else value})
    return "; ".join(words)


class OwnLimitsMixin(Base):
    """The tenant's page with its own limits; for who may only look they are one line."""

    form = TenantForm

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """The page's parts."""
        first = (None, {"fields": self.fields})
        if obj is None or not self.has_change_permission(request, obj):
            return [first, (_("Limits of its own"), {"fields": ("own_limits",)})]
        return [
            first,
            (
                _("Limits of its own"),
                {
                    "classes": () if obj.limits or request.method == "POST" else ("collapse",),
                    "description": _("What differs from the plan. Empty means: as the plan."),
                    "fields": OWN,
                },
            ),
            (None, {"fields": ("confirm",)}),
        ]

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """Write what the form has changed and nothing else: storage is counted in the same row meanwhile."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        columns = {field.name for field in obj._meta.concrete_fields}
        changed = [name for name in form.changed_data if name in columns]
        if any(name in OWN for name in form.changed_data):
            changed.append("limits")
        if changed:
            obj.save(update_fields=changed)

    @admin.display(description=_("limits of its own"))
    def own_limits(self, tenant: Tenant) -> str:
        return ", ".join(_say_own(tenant.limits or {})) or "–"

    @admin.display(description=_("storage used"))
    def stored(self, tenant: Tenant) -> str:
        return format_bytes(tenant.stored_bytes)


def _say_own(limits: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {_now('none') if value is None else value}" for name, value in sorted(limits.items())]
