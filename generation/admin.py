"""The admin of models, generations, failures, workers, pools, golden pictures and chat, across tenants, for staff.

Prompts are their tenant's: lists do not show them, a single generation does, to whoever may read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.admin import TenantAdmin
from accounts.models import Tenant
from accounts.staff.audited import AuditedMixin
from accounts.staff.inlines import NamedFormSet
from generation.engine.catalog import ModelSpec
from generation.engine.errors import CatalogError
from generation.models import (
    ChatCall,
    ChatGrant,
    ChatModel,
    Comparison,
    Failure,
    Generation,
    GoldenCase,
    Lora,
    Model,
    ModelGrant,
    Pool,
    PromptRule,
    Upstream,
    Worker,
)
from generation.staff.chat import ChatCallAdmin, ChatModelAdmin, PromptRuleAdmin, UpstreamAdmin
from generation.staff.generations import FailureAdmin, GenerationAdmin
from generation.staff.golden import ComparisonAdmin, GoldenCaseAdmin
from generation.staff.loras import LoraAdmin
from generation.staff.workers import PoolAdmin, WorkerAdmin

if TYPE_CHECKING:
    ModelAdminBase = admin.ModelAdmin[Model]
    GrantInlineBase = admin.TabularInline[ModelGrant, Model]
    TenantGrantInlineBase = admin.TabularInline[ModelGrant, Tenant]
    TenantChatInlineBase = admin.TabularInline[ChatGrant, Tenant]
    ModelFormBase = forms.ModelForm[Model]
else:
    ModelAdminBase, ModelFormBase = admin.ModelAdmin, forms.ModelForm
    GrantInlineBase = TenantGrantInlineBase = TenantChatInlineBase = admin.TabularInline


class ModelForm(ModelFormBase):
    """A model's entry is read as strictly as the file it came from."""

    class Meta:
        model = Model
        fields = "__all__"

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        slug = data.get("slug") or self.instance.slug
        if slug and isinstance(data.get("spec"), dict):
            try:
                ModelSpec.from_table(slug, data["spec"], source_name=_now("entry"))
            except CatalogError as error:
                raise ValidationError({"spec": str(error)}) from error
        return data


class GrantInline(GrantInlineBase):
    """Which tenants may use a model that is not for all."""

    model = ModelGrant
    formset = NamedFormSet
    extra = 0
    autocomplete_fields = ("tenant",)
    fields = ("tenant",)


class TenantGrantInline(TenantGrantInlineBase):
    """Which models that are not for all a tenant may use."""

    model = ModelGrant
    formset = NamedFormSet
    extra = 0
    fields = ("model",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "model":
            kwargs["queryset"] = Model.objects.filter(public=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class TenantChatInline(TenantChatInlineBase):
    """Which chat models that are not for all a tenant may use."""

    model = ChatGrant
    formset = NamedFormSet
    extra = 0
    fields = ("model",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "model":
            kwargs["queryset"] = ChatModel.objects.filter(public=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


# Accounts knows no models; what a tenant's page shows of them is added from here.
TenantAdmin.inlines = (*TenantAdmin.inlines, TenantGrantInline, TenantChatInline)


@admin.register(Model)
class ModelAdmin(AuditedMixin, ModelAdminBase):
    """The models on offer."""

    form = ModelForm
    list_display = ("title", "slug", "family", "pool", "lane", "licence", "enabled", "public", "position", "updated_at")
    list_editable = ("enabled", "public", "position")
    list_filter = ("enabled", "public", "pool")
    search_fields = ("title", "slug")
    ordering = ("position", "slug")
    inlines = (GrantInline,)

    @admin.display(description=_("family"))
    def family(self, model: Model) -> str:
        return str(model.spec.get("family", ""))

    @admin.display(description=_("lane"), empty_value="–")
    def lane(self, model: Model) -> str | None:
        return model.spec.get("lane") or None

    @admin.display(description=_("licence"), empty_value="–")
    def licence(self, model: Model) -> str | None:
        return model.spec.get("licence") or None

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return ("slug", "created_at", "updated_at") if obj else ("created_at", "updated_at")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # generations name it; switching it off is what is meant


admin.site.register(Generation, GenerationAdmin)
admin.site.register(Failure, FailureAdmin)
admin.site.register(Worker, WorkerAdmin)
admin.site.register(Pool, PoolAdmin)
admin.site.register(Lora, LoraAdmin)
admin.site.register(GoldenCase, GoldenCaseAdmin)
admin.site.register(Comparison, ComparisonAdmin)
admin.site.register(Upstream, UpstreamAdmin)
admin.site.register(ChatModel, ChatModelAdmin)
admin.site.register(PromptRule, PromptRuleAdmin)
admin.site.register(ChatCall, ChatCallAdmin)
