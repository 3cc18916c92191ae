"""A tenant in the admin: what it used, whom it has invited, its keys; suspending, resuming and revoking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from accounts.domain.keys import revoke_key
from accounts.domain.sql import fetch_all
from accounts.domain.staff import caller_of_staff
from accounts.domain.tenants import restore_tenant, suspend_tenant
from accounts.models import ApiKey, AuditEvent, Invitation, Tenant
from accounts.staff.deeds import ReasonForm, go_back, reason_of, say_time, try_to
from accounts.staff.inlines import NamedFormSet, ReadInlineMixin
from accounts.tenancy import in_tenant

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Tenant]
    KeyInlineBase = admin.TabularInline[ApiKey, Tenant]
    InvitationInlineBase = admin.TabularInline[Invitation, Tenant]
else:
    Base, KeyInlineBase, InvitationInlineBase = admin.ModelAdmin, admin.TabularInline, admin.TabularInline

REVOKE = "accounts.change_apikey"

_USAGE_SQL = """
SELECT period, metric, used, reserved FROM accounts_counter
 WHERE tenant_id = %(tenant)s AND scope = 'tenant' AND scope_id = %(tenant)s
   AND starts_on = date_trunc(period, now() AT TIME ZONE 'UTC')::date
"""


class KeyInline(ReadInlineMixin, KeyInlineBase):
    """A tenant's keys: secrets are stored as hashes only, and making one is the members' own business."""

    model = ApiKey
    formset = NamedFormSet
    fields = ("user", "scopes", "made", "last_used_at", "expires_at", "revoked_at", "revoke")
    readonly_fields = fields

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields if request.user.has_perm(REVOKE) else self.fields[:-1]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).select_related("user").order_by("-created_at")

    @admin.display(description=_("made"))
    def made(self, row: ApiKey) -> str:
        return say_time(row.created_at)

    @admin.display(description=_("revoke"))
    def revoke(self, row: ApiKey) -> str | SafeString:
        """A button that asks once more; its form stands outside of the page's own (`parts/deeds.html`)."""
        if row.revoked_at is not None:
            return "–"
        return format_html(
            '<details class="qs-sure"><summary>{}</summary>'
            '<button class="button" form="qs-deeds" formaction="{}">{}</button></details>',
            _now("Revoke …"),
            reverse("admin:accounts_tenant_revoke", args=[row.tenant_id, row.pk]),
            _now("Revoke for good"),
        )


class InvitationInline(ReadInlineMixin, InvitationInlineBase):
    """Whom a tenant has asked to join."""

    model = Invitation
    formset = NamedFormSet
    fields = ("email", "role", "made", "expires_at", "accepted_at", "revoked_at")
    readonly_fields = fields
    ordering = ("-created_at",)

    @admin.display(description=_("made"))
    def made(self, row: Invitation) -> str:
        return say_time(row.created_at)


class TenantDeedsMixin(Base):
    """Suspending and resuming with a reason, revoking keys; usage and reason of the tenant that is shown."""

    action_form = ReasonForm
    change_form_template = "admin/tenant_form.html"

    def get_urls(self) -> list[URLPattern]:
        """The deeds' addresses before the admin's own."""
        own = self.admin_site.admin_view
        deeds = [
            path("<uuid:tenant>/suspend/", own(require_POST(self.suspend_one)), name="accounts_tenant_suspend"),
            path("<uuid:tenant>/resume/", own(require_POST(self.resume_one)), name="accounts_tenant_resume"),
            path(
                "<uuid:tenant>/keys/<uuid:key>/revoke/",
                own(require_POST(self.revoke_one)),
                name="accounts_tenant_revoke",
            ),
        ]
        return [*deeds, *super().get_urls()]

    def suspend_one(self, request: HttpRequest, tenant: UUID) -> HttpResponse:
        """POST from the tenant's page."""
        row = self._find(request, tenant)
        said = _("The tenant is suspended; its requests are refused from now on.")
        try_to(request, lambda: suspend_tenant(row, reason=reason_of(request)), said)
        return go_back(request, reverse("admin:accounts_tenant_change", args=[row.pk]))

    def resume_one(self, request: HttpRequest, tenant: UUID) -> HttpResponse:
        """POST from the tenant's page."""
        row = self._find(request, tenant)
        try_to(request, lambda: restore_tenant(row, reason=reason_of(request)), _("The tenant works again."))
        return go_back(request, reverse("admin:accounts_tenant_change", args=[row.pk]))

    def revoke_one(self, request: HttpRequest, tenant: UUID, key: UUID) -> HttpResponse:
        """POST from the tenant's page: end one of its keys."""
        if not request.user.has_perm(REVOKE):
            raise PermissionDenied
        row = self._get(tenant)

        def revoke() -> None:
            with in_tenant(row.pk):
                revoke_key(by=caller_of_staff(person=request.user, tenant=row), key_id=key)  # type: ignore[arg-type]

        try_to(request, revoke, _("The key is revoked; the next request with it is refused."))
        return go_back(request, reverse("admin:accounts_tenant_change", args=[row.pk]))

    def _find(self, request: HttpRequest, tenant: UUID) -> Tenant:
        if not self.has_change_permission(request):
            raise PermissionDenied
        return self._get(tenant)

    def _get(self, tenant: UUID) -> Tenant:
        row = Tenant.objects.select_related("plan").filter(pk=tenant).first()
        if row is None:
            raise Http404
        return row

    @admin.action(description=_("Suspend the chosen tenants (with a reason)"), permissions=["change"])
    def suspend(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        """Refuse everything they ask for."""
        self._each(request, tenants.filter(suspended_at=None), suspend_tenant, self._suspended)

    @admin.action(description=_("Let the chosen tenants work again (with a reason)"), permissions=["change"])
    def resume(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        """Undo it."""
        self._each(request, tenants.exclude(suspended_at=None), restore_tenant, self._resumed)

    def _each(self, request: HttpRequest, tenants: QuerySet[Tenant], do: Any, words: Any) -> None:
        reason, done = reason_of(request), 0
        for tenant in list(tenants):
            if not try_to(request, lambda tenant=tenant: do(tenant, reason=reason), ""):  # type: ignore[misc]
                break  # the reason is missing or too long: for the next one too
            done += 1
        if done:
            self.message_user(request, words(done))

    @staticmethod
    def _suspended(n: int) -> str:
        return ngettext("%(n)d tenant suspended.", "%(n)d tenants suspended.", n) % {"n": n}

    @staticmethod
    def _resumed(n: int) -> str:
        return ngettext("%(n)d tenant works again.", "%(n)d tenants work again.", n) % {"n": n}

    @admin.display(description=_("used today"))
    def used_today(self, tenant: Tenant) -> str:
        return _say_usage(tenant, "day")

    @admin.display(description=_("used this month"))
    def used_this_month(self, tenant: Tenant) -> str:
        return _say_usage(tenant, "month")

    @admin.display(description=_("why it is suspended"))
    def suspended_because(self, tenant: Tenant) -> str:
        if tenant.suspended_at is None:
            return "–"
        told = AuditEvent.objects.filter(tenant=tenant, action="tenant.suspended").order_by("-created_at").first()
        return str(told.detail.get("reason", "")) if told else "–"


def _say_usage(tenant: Tenant, period: str) -> str:
    if tenant._state.adding:
        return "–"
    if not hasattr(tenant, "usage_shown"):
        tenant.usage_shown = fetch_all(_USAGE_SQL, tenant=tenant.pk)  # type: ignore[attr-defined]
    found = {row["metric"]: row for row in tenant.usage_shown if row["period"] == period}  # type: ignore[attr-defined]
    images, gpu_ms = (found.get(metric, {"used": 0, "reserved": 0}) for metric in ("images", "gpu_ms"))
    return _now("%(images)d images and %(seconds).1f GPU seconds; %(more)d images set aside") % {
        "images": images["used"],
        "seconds": gpu_ms["used"] / 1000,
        "more": images["reserved"],
    }
