"""The admin of people, tenants, plans, keys, errands, ledger and audit. It runs across tenants, for staff only.

Lists take a constant number of queries; what is history (ledger, audit) can be read and not changed. Whatever staff
change is recorded in the audit log (`accounts/staff/audited.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from allauth.account import admin as account_admin
from allauth.mfa import admin as factor_admin
from allauth.usersessions import admin as session_admin
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.domain.errands import drop_errand, retry_errand
from accounts.models import ApiKey, AuditEvent, Errand, LedgerEntry, Membership, Plan, Tenant, User
from accounts.staff.audited import AuditedMixin
from accounts.staff.credit import CreditMixin
from accounts.staff.deeds import say_time, try_to
from accounts.staff.filters import ActionFilter, DayFilter, PersonFilter, ResultFilter, TenantFilter
from accounts.staff.history import HistoryAdmin
from accounts.staff.limits import OwnLimitsMixin, PlanForm
from accounts.staff.lists import FindingMixin, ReadOnlyAdmin, read_id, short_id
from accounts.staff.members import MemberInline
from accounts.staff.people import GroupAdmin, UserAdmin
from accounts.staff.tenants import InvitationInline, KeyInline, TenantDeedsMixin

if TYPE_CHECKING:
    TenantAdminBase = admin.ModelAdmin[Tenant]
    PlanAdminBase = admin.ModelAdmin[Plan]
else:
    TenantAdminBase, PlanAdminBase = admin.ModelAdmin, admin.ModelAdmin

admin.site.site_header = _("QwenStudio admin")
admin.site.site_title = _("QwenStudio admin")
admin.site.index_title = _("Everything that staff look after")
admin.site.site_url = "/studio/"
admin.site.index_template = "admin/studio_index.html"
admin.site.unregister(Group)
# allauth's own pages, which its modules register: they show where everybody is signed in, and let sealed factors be
# edited. People have pages of their own for these, and staff take a lost factor away by an action below.
for module in (account_admin, factor_admin, session_admin):
    for model in [model for model in admin.site._registry if model.__module__.startswith(module.__package__)]:
        admin.site.unregister(model)


admin.site.register(Group, GroupAdmin)
admin.site.register(User, UserAdmin)


@admin.register(Tenant)
class TenantAdmin(OwnLimitsMixin, CreditMixin, TenantDeedsMixin, AuditedMixin, TenantAdminBase):
    """Organisations with their members, keys, invitations, plan, usage and a note for staff."""

    list_display = ("name", "plan", "member_count", "is_running", "made")
    list_filter = ("plan", ("suspended_at", admin.EmptyFieldListFilter))
    list_select_related = ("plan",)
    search_fields = ("name", "note")
    ordering = ("name",)
    fields = (
        "id",
        "name",
        "plan",
        "note",
        "suspended_at",
        "suspended_because",
        "used_today",
        "used_this_month",
        "stored",
        "made",
    )
    readonly_fields = (
        "id",
        "suspended_at",
        "suspended_because",
        "used_today",
        "used_this_month",
        "stored",
        "own_limits",
        "made",
    )
    inlines: ClassVar[tuple[type[Any], ...]] = (MemberInline, KeyInline, InvitationInline)  # generation adds its own
    actions = ("suspend", "resume")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).select_related("plan")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count the members of the tenants on this page in one query."""
        found = super().get_changelist_instance(request)
        shown = [tenant.pk for tenant in found.result_list]
        counts = dict(
            Membership.objects.filter(tenant_id__in=shown).values_list("tenant_id").annotate(n=Count("id")).order_by()
        )
        for tenant in found.result_list:
            tenant.members_shown = counts.get(tenant.pk, 0)
        return found

    @admin.display(description=_("made"), ordering="created_at")
    def made(self, tenant: Tenant) -> str:
        return say_time(tenant.created_at)

    @admin.display(description=_("members"))
    def member_count(self, tenant: Tenant) -> int:
        return getattr(tenant, "members_shown", 0)

    @admin.display(description=_("active"), boolean=True, ordering="suspended_at")
    def is_running(self, tenant: Tenant) -> bool:
        return tenant.suspended_at is None

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False  # its pictures, files and ledger would go in one click; suspending is what is meant


@admin.register(Plan)
class PlanAdmin(AuditedMixin, PlanAdminBase):
    """The limits on offer; an empty one means none."""

    form = PlanForm
    list_display = (
        "title",
        "slug",
        "weight",
        "images_per_day",
        "gpu_ms_per_day",
        "concurrent_generations",
        "queue_length",
    )
    search_fields = ("title", "slug")
    ordering = ("title",)
    fieldsets = (
        (None, {"fields": ("title", "slug", "weight")}),
        (_("A day"), {"fields": ("images_per_day", "gpu_ms_per_day", "tokens_per_day", "cancels_per_day")}),
        (_("A month"), {"fields": ("images_per_month", "gpu_ms_per_month")}),
        (_("One request"), {"fields": ("max_pixels", "max_steps", "max_images")}),
        (
            _("At once"),
            {
                "fields": (
                    "concurrent_generations",
                    "queue_length",
                    "requests_per_minute",
                    "tenant_requests_per_minute",
                    "chat_requests_per_minute",
                    "concurrent_chats",
                )
            },
        ),
        (_("Files"), {"fields": ("storage_bytes", "retention_days")}),
        (None, {"fields": ("confirm",)}),
    )


@admin.register(ApiKey)
class ApiKeyAdmin(FindingMixin, ReadOnlyAdmin):
    """All keys, found by prefix or by whom they act for; a tenant's page revokes them."""

    list_display = ("prefix", "name", "tenant", "user", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = (TenantFilter, ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("tenant", "user")
    ordering = ("-created_at", "-id")
    id_fields = ("id",)
    person_field = "user_id"
    key_field = "id"


@admin.register(LedgerEntry)
class LedgerAdmin(HistoryAdmin):
    """Every reserve, settle, refund and credit."""

    list_display = ("at", "tenant", "kind", "amount", "metric", "label", "person", "reason", "work")
    list_filter = (TenantFilter, PersonFilter, DayFilter, "kind", "metric")
    id_fields = ("ref",)
    person_field, key_field = "user", "key"
    columns = ("key", "kind", "metric", "amount", "charged_on", "label", "ref", "reason", "event_id")
    fields = (
        *("at", "tenant", "kind", "metric", "amount", "charged_on", "label", "person", "key_name", "reason"),
        *("ref", "event_id"),
    )
    readonly_fields = ("at", "person", "key_name")

    @admin.display(description=_("for"))
    def work(self, row: LedgerEntry) -> str:
        return short_id(row.ref)


@admin.register(AuditEvent)
class AuditAdmin(HistoryAdmin):
    """Who did what, from where."""

    list_display = ("at", "tenant", "action", "result", "person", "about", "address", "request")
    list_filter = (TenantFilter, PersonFilter, ActionFilter, DayFilter, ResultFilter)
    id_fields = ("id",)
    person_field, key_field = "user", "key"
    text_fields = ("request_id", "target", "action")
    columns = ("key", "action", "result", "target", "address", "request_id", "detail")
    fields = ("at", "tenant", "action", "result", "person", "key_name", "target", "address", "request_id", "detail")
    readonly_fields = ("at", "person", "key_name")

    @admin.display(description=_("about"))
    def about(self, row: AuditEvent) -> str:
        kind, colon, identity = row.target.rpartition(":")
        return short_id(identity, kind) if colon and read_id(identity) else row.target or "–"

    @admin.display(description=_("request"))
    def request(self, row: AuditEvent) -> str:
        return short_id(row.request_id)


@admin.register(Errand)
class ErrandAdmin(ReadOnlyAdmin):
    """Other work that waits, and what has failed; what an errand carries (an e-mail, sealed) is not shown."""

    list_display = ("kind", "tenant", "due_at", "attempt", "failed_at", "error")
    list_filter = (TenantFilter, "kind", ("failed_at", admin.EmptyFieldListFilter))
    list_select_related = ("tenant",)
    ordering = ("-due_at", "-id")
    fields = ("id", "kind", "tenant", "ref", "due_at", "attempt", "failed_at", "error", "created_at")
    actions = ("retry", "drop")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """No guessing what an errand carries by filtering for it."""
        return not lookup.startswith("data") and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.action(description=_("Try the chosen failed errands again"), permissions=["act"])
    def retry(self, request: HttpRequest, errands: QuerySet[Errand]) -> None:
        """With all their tries."""
        for row in errands.exclude(failed_at=None):
            try_to(request, lambda row=row: retry_errand(row.pk), _("It is tried again."))  # type: ignore[misc]

    @admin.action(description=_("Drop the chosen failed errands: they never happen"), permissions=["act"])
    def drop(self, request: HttpRequest, errands: QuerySet[Errand]) -> None:
        """For good."""
        for row in errands.exclude(failed_at=None):
            try_to(request, lambda row=row: drop_errand(row.pk), _("It is dropped."))  # type: ignore[misc]
