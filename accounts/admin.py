"""The admin of people, tenants, plans, keys, ledger and audit. It runs across tenants, for staff only.

Lists take a constant number of queries; what is history (ledger, audit) can be read and not changed.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.domain.audit import record
from accounts.models import ApiKey, AuditEvent, LedgerEntry, Membership, Plan, Tenant, User
from accounts.models.user import normal_email

if TYPE_CHECKING:
    UserAdminBase = DjangoUserAdmin[User]
    TenantAdminBase = admin.ModelAdmin[Tenant]
    PlanAdminBase = admin.ModelAdmin[Plan]
    ReadOnlyBase = admin.ModelAdmin[Any]
    NewUserFormBase = AdminUserCreationForm[User]
    UserFormBase = UserChangeForm[User]
    KeyInlineBase = admin.TabularInline[ApiKey, Tenant]
    MemberInlineBase = admin.TabularInline[Membership, Tenant]
else:
    UserAdminBase, TenantAdminBase, PlanAdminBase = DjangoUserAdmin, admin.ModelAdmin, admin.ModelAdmin
    NewUserFormBase, UserFormBase = AdminUserCreationForm, UserChangeForm
    ReadOnlyBase, KeyInlineBase, MemberInlineBase = admin.ModelAdmin, admin.TabularInline, admin.TabularInline

admin.site.site_header = _("QwenStudio admin")
admin.site.site_title = _("QwenStudio admin")
admin.site.index_title = _("Everything that staff look after")
admin.site.site_url = "/studio/"
admin.site.unregister(Group)


class ReadOnlyAdmin(ReadOnlyBase):
    """A list to look at."""

    list_per_page = 50
    show_full_result_count = False  # counting every row of a long table takes longer than the page

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class EmailField(forms.EmailField):
    """One spelling per address, as everywhere."""

    def clean(self, value: Any) -> str:
        return normal_email(super().clean(value) or "")


class NewUserForm(NewUserFormBase):
    class Meta:
        model = User
        fields = ("email", "name")
        field_classes = {"email": EmailField}


class UserForm(UserFormBase):
    class Meta:
        model = User
        fields = "__all__"
        field_classes = {"email": EmailField}


# What decides how much a person may do.
PRIVILEGES = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(UserAdminBase):
    """People; they sign in by e-mail.

    Only a superuser gives privileges. Other staff look after people and themselves, not after each other: whoever sets
    a colleague's password or address can sign in with that colleague's privileges.
    """

    form = UserForm
    add_form = NewUserForm
    ordering = ("email",)
    list_display = ("email", "name", "is_staff", "is_active", "last_login", "created_at")
    list_filter = ("is_staff", "is_active", "language")
    search_fields = ("email", "name")
    readonly_fields = ("last_login", "created_at")
    filter_horizontal = ("user_permissions",)
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "language")}),
        (_("What they may do"), {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")}),
        (_("Times"), {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "name", "usable_password", "password1", "password2")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        return self.readonly_fields if request.user.is_superuser else (*self.readonly_fields, *PRIVILEGES)

    # Django asks these for the page, the password's page and each row of "delete the chosen".
    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


def _may_touch(request: HttpRequest, person: User | None) -> bool:
    if person is None or request.user.is_superuser or person.pk == request.user.pk:
        return True
    return not (person.is_staff or person.is_superuser)


class MemberInline(MemberInlineBase):
    """Who belongs to a tenant."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user",)
    fields = ("user", "role", "made")
    readonly_fields = ("made",)

    @admin.display(description=_("made"))
    def made(self, row: Membership) -> datetime:
        return row.created_at


class KeyInline(KeyInlineBase):
    """A tenant's keys, to look at: secrets are stored as hashes only, and making one is the members' own business."""

    model = ApiKey
    extra = 0
    can_delete = False
    fields = ("name", "prefix", "user", "scopes", "made", "last_used_at", "expires_at", "revoked_at")
    readonly_fields = fields
    show_change_link = False

    @admin.display(description=_("made"))
    def made(self, row: ApiKey) -> datetime:
        return row.created_at

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).select_related("user").order_by("-created_at")


@admin.register(Tenant)
class TenantAdmin(TenantAdminBase):
    """Organisations with their members, keys, plan and a note for staff."""

    list_display = ("name", "plan", "member_count", "is_running", "made")
    list_filter = ("plan", ("suspended_at", admin.EmptyFieldListFilter))
    list_select_related = ("plan",)
    search_fields = ("name", "note")
    ordering = ("name",)
    fields = ("id", "name", "plan", "note", "suspended_at", "made")
    readonly_fields = ("id", "suspended_at", "made")
    inlines = (MemberInline, KeyInline)
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
    def made(self, tenant: Tenant) -> datetime:
        return tenant.created_at

    @admin.display(description=_("members"))
    def member_count(self, tenant: Tenant) -> int:
        return getattr(tenant, "members_shown", 0)

    @admin.display(description=_("active"), boolean=True, ordering="suspended_at")
    def is_running(self, tenant: Tenant) -> bool:
        return tenant.suspended_at is None

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False  # its pictures, files and ledger would go in one click; suspending is what is meant

    @admin.action(description=_("Suspend the chosen tenants"), permissions=["change"])
    def suspend(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        chosen = list(tenants.filter(suspended_at=None).values_list("pk", flat=True))
        tenants.filter(pk__in=chosen).update(suspended_at=timezone.now())
        for tenant in chosen:
            record("tenant.suspended", target=f"tenant:{tenant}", tenant=tenant)
        self._say(request, len(chosen), _("%(n)d tenant suspended."), _("%(n)d tenants suspended."))

    @admin.action(description=_("Let the chosen tenants work again"), permissions=["change"])
    def resume(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        chosen = list(tenants.exclude(suspended_at=None).values_list("pk", flat=True))
        tenants.filter(pk__in=chosen).update(suspended_at=None)
        for tenant in chosen:
            record("tenant.resumed", target=f"tenant:{tenant}", tenant=tenant)
        self._say(request, len(chosen), _("%(n)d tenant works again."), _("%(n)d tenants work again."))

    def _say(self, request: HttpRequest, count: int, one: Any, many: Any) -> None:
        self.message_user(request, (one if count == 1 else many) % {"n": count}, messages.SUCCESS)


@admin.register(Plan)
class PlanAdmin(PlanAdminBase):
    """The limits on offer; an empty one means none."""

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
        (_("A day"), {"fields": ("images_per_day", "gpu_ms_per_day", "tokens_per_day")}),
        (_("A month"), {"fields": ("images_per_month", "gpu_ms_per_month")}),
        (_("One request"), {"fields": ("max_pixels", "max_steps", "max_images")}),
        (
            _("At once"),
            {"fields": ("concurrent_generations", "queue_length", "requests_per_minute", "chat_requests_per_minute")},
        ),
        (_("Files"), {"fields": ("storage_bytes", "retention_days")}),
    )


@admin.register(LedgerEntry)
class LedgerAdmin(ReadOnlyAdmin):
    """Every reserve, settle, refund and credit."""

    list_display = ("created_at", "tenant", "kind", "metric", "amount", "charged_on", "ref", "reason")
    list_filter = ("kind", "metric", "charged_on")
    list_select_related = ("tenant",)
    search_fields = ("=ref", "=user", "=key", "tenant__name")
    ordering = ("-created_at", "-id")


@admin.register(AuditEvent)
class AuditAdmin(ReadOnlyAdmin):
    """Who did what, from where."""

    list_display = ("created_at", "tenant", "action", "result", "target", "user", "address", "request_id")
    list_filter = ("result", "action")
    list_select_related = ("tenant",)
    search_fields = ("action", "target", "=request_id", "=user", "tenant__name")
    ordering = ("-created_at", "-id")
