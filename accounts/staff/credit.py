"""The page on which staff credit a tenant by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.domain.codes import say_error
from accounts.domain.credit import MAX_REASON, PERMISSION, credit_tenant
from accounts.enums import Metric
from accounts.errors import StudioError
from accounts.models import Tenant, User

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Tenant]
else:
    Base = admin.ModelAdmin

# Each choice with its metric and how many of its units one is.
UNITS = {
    "images": (_("images"), Metric.IMAGES, 1),
    "gpu_seconds": (_("GPU seconds"), Metric.GPU_MS, 1000),
    "tokens": (_("chat tokens"), Metric.TOKENS, 1),
}
MOST = 10**12


class CreditForm(forms.Form):
    """What, how much, and why; the token makes a repeated POST harmless."""

    token = forms.UUIDField(widget=forms.HiddenInput)
    unit = forms.ChoiceField(label=_("what"), choices=[(name, title) for name, (title, _metric, _n) in UNITS.items()])
    amount = forms.IntegerField(label=_("how much"), min_value=1, max_value=MOST)
    reason = forms.CharField(
        label=_("reason"),
        max_length=MAX_REASON,
        help_text=_("The tenant's admins read it in their audit log."),
        widget=forms.TextInput(attrs={"size": 60}),
    )


class CreditMixin(Base):
    """Adds the page to a tenant's."""

    def get_urls(self) -> list[URLPattern]:
        """The page's address before the admin's own."""
        view = self.admin_site.admin_view(self.credit)
        return [path("<uuid:tenant>/credit/", view, name="accounts_tenant_credit"), *super().get_urls()]

    def credit(self, request: HttpRequest, tenant: UUID) -> HttpResponse:
        """GET: the form. POST: the credit, once for each form."""
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        row = Tenant.objects.filter(pk=tenant).first()
        if row is None:
            raise Http404
        form = CreditForm(request.POST if request.method == "POST" else None, initial={"token": uuid4()})
        if form.is_valid() and self._give(request, row, form):
            return HttpResponseRedirect(reverse("admin:accounts_tenant_change", args=[row.pk]))
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": _("Credit a tenant"),
            "subtitle": row.name,
            "opts": self.opts,
            "original": row,
            "form": form,
            "used": [getattr(self, name)(row) for name in ("used_today", "used_this_month")],
        }
        return TemplateResponse(request, "admin/credit_form.html", context)

    def _give(self, request: HttpRequest, tenant: Tenant, form: CreditForm) -> bool:
        data = form.cleaned_data
        title, metric, unit = UNITS[data["unit"]]
        try:
            new = credit_tenant(
                by_staff=cast(User, request.user),
                tenant=tenant.pk,
                metric=metric.value,
                amount=data["amount"] * unit,
                reason=data["reason"],
                token=data["token"],
            )
        except StudioError as error:
            form.add_error(error.field if error.field in form.fields else None, say_error(error))
            return False
        words = {"n": data["amount"], "what": title, "tenant": tenant.name}
        said = (
            _now("%(n)d %(what)s are credited to %(tenant)s.")
            if new
            else _now("This form was sent before: %(tenant)s was credited then, and not again.")
        )
        messages.success(request, said % words)
        return True
