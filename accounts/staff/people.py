"""People and groups in the admin: who looks after whom, who gives privileges, and lost factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from accounts.domain.deletion import only_owner_of
from accounts.domain.factors import drop_factors
from accounts.models import Membership, User
from accounts.models.user import normal_email
from accounts.staff.audited import AuditedMixin

if TYPE_CHECKING:
    UserAdminBase = DjangoUserAdmin[User]
    NewUserFormBase = AdminUserCreationForm[User]
    UserFormBase = UserChangeForm[User]
else:
    UserAdminBase, NewUserFormBase, UserFormBase = DjangoUserAdmin, AdminUserCreationForm, UserChangeForm


class GroupAdmin(AuditedMixin, DjangoGroupAdmin):
    """Sets of permissions; superusers' alone. `support` is kept by the studio (`qwenstudio/support.py`)."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


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


class UserAdmin(AuditedMixin, UserAdminBase):
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
    readonly_fields = ("last_login", "created_at", "tenants")
    filter_horizontal = ("groups", "user_permissions")
    actions = ("drop_factors",)
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "language", "tenants")}),
        (_("What they may do"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("Times"), {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "name", "usable_password", "password1", "password2")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        return self.readonly_fields if request.user.is_superuser else (*self.readonly_fields, *PRIVILEGES)

    @admin.display(description=_("tenants"))
    def tenants(self, person: User) -> str:
        rows = Membership.objects.filter(user=person).select_related("tenant").order_by("created_at", "id")
        links = (
            (reverse("admin:accounts_tenant_change", args=[row.tenant_id]), row.tenant.name, row.get_role_display())
            for row in rows
        )
        return format_html_join(", ", '<a href="{}">{}</a> ({})', links) or "–"

    @admin.action(description=_("Remove the second factor of the chosen people"), permissions=["change"])
    def drop_factors(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """For who has lost phone and recovery codes."""
        for person in people:
            if not _may_touch(request, person):
                self.message_user(request, _("You may not do this."), messages.ERROR)
            elif drop_factors(person):
                words = _("%(who)s signs in without a code now, and was told.") % {"who": person.email}
                self.message_user(request, words, messages.SUCCESS)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """The password and its event in one transaction."""
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nobody is deleted who is some tenant's last owner. What goes with a person needs no permission of its own."""
        to_delete, counts, missing, protected = super().get_deleted_objects(objs, request)
        last = [f"{tenant.name}: {person.email}" for person in objs for tenant in only_owner_of(person)]
        return to_delete, counts, missing & {User._meta.verbose_name}, [*protected, *last]

    # Django asks these for the page, the password's page and each row of "delete the chosen".
    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


def _may_touch(request: HttpRequest, person: User | None) -> bool:
    if person is None or request.user.is_superuser or person.pk == request.user.pk:
        return True
    return not (person.is_staff or person.is_superuser)
