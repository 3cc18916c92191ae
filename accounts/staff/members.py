"""Who belongs to a tenant, in the admin: changed through the domain, by those of staff who may decide it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.domain.staff import give_role, let_in, take_out
from accounts.enums import Role
from accounts.models import Membership, Tenant, User
from accounts.staff.deeds import say_time
from accounts.staff.inlines import NamedFormSet

if TYPE_CHECKING:
    InlineBase = admin.TabularInline[Membership, Tenant]
    FormBase = forms.ModelForm[Membership]
else:
    InlineBase, FormBase = admin.TabularInline, forms.ModelForm

MANAGE = "accounts.manage_members"


class MemberForm(FormBase):
    """A member's person is chosen once; afterwards only the role changes."""

    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and not self.instance._state.adding and "user" in self.fields:
            self.fields["user"].disabled = True


class MemberFormSet(NamedFormSet):
    """Saves through the domain: the last owner stays, and each change is an event of the tenant."""

    records_itself = True
    by: User  # set by the inline

    def save(self, commit: bool = True) -> list[Membership]:
        """New members first, then owners are made, then roles taken, then members: no order leaves a tenant bare."""
        tenant = self.instance
        self.new_objects: list[Membership] = []
        self.changed_objects: list[tuple[Membership, list[str]]] = []
        self.deleted_objects: list[Membership] = []
        for form in self.extra_forms:
            if form.has_changed() and form not in self.deleted_forms:
                data = form.cleaned_data
                self.new_objects.append(let_in(by=self.by, tenant=tenant, user=data["user"], role=data["role"]))
        leaving = [form for form in self.initial_forms if form in self.deleted_forms]
        staying = [form for form in self.initial_forms if form not in leaving and "role" in form.changed_data]
        for form in sorted(staying, key=lambda form: form.cleaned_data["role"] != Role.OWNER):
            member = form.instance
            role = form.cleaned_data["role"]
            self.changed_objects.append((give_role(by=self.by, tenant=tenant, user=member.user, role=role), ["role"]))
        for form in leaving:
            take_out(by=self.by, tenant=tenant, user=form.instance.user)
            self.deleted_objects.append(form.instance)
        return [*self.new_objects, *(member for member, _ in self.changed_objects)]


class MemberInline(InlineBase):
    """Who belongs to a tenant."""

    model = Membership
    form = MemberForm
    formset = MemberFormSet
    extra = 0
    autocomplete_fields = ("user",)
    fields = ("user", "role", "made")
    readonly_fields = ("made",)

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        found: Any = super().get_formset(request, obj, **kwargs)
        found.by = request.user
        return found

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user").order_by("created_at", "id")

    @admin.display(description=_("made"))
    def made(self, row: Membership) -> str:
        return say_time(row.created_at)

    # Django's own permissions on memberships are not asked: one name for what is one decision.
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MANAGE)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MANAGE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MANAGE)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MANAGE) or request.user.has_perm("accounts.view_membership")
