"""The admin of models, generations, GPU workers and pools. It runs across tenants, for staff only.

Prompts are their tenant's: lists do not show them, a single generation does, to whoever may view it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.admin import ReadOnlyAdmin
from accounts.domain.audit import record
from accounts.domain.callers import caller_of_member
from accounts.errors import NotAllowed, StudioError
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.retry import retry_generation
from generation.engine.catalog import ModelSpec
from generation.engine.errors import CatalogError
from generation.models import Generation, Model, ModelGrant, Pool, Worker

if TYPE_CHECKING:
    ModelAdminBase = admin.ModelAdmin[Model]
    PoolAdminBase = admin.ModelAdmin[Pool]
    GrantInlineBase = admin.TabularInline[ModelGrant, Model]
    ModelFormBase = forms.ModelForm[Model]
else:
    ModelAdminBase, PoolAdminBase = admin.ModelAdmin, admin.ModelAdmin
    GrantInlineBase, ModelFormBase = admin.TabularInline, forms.ModelForm


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
    extra = 0
    autocomplete_fields = ("tenant",)
    fields = ("tenant",)


@admin.register(Model)
class ModelAdmin(ModelAdminBase):
    """The models on offer."""

    form = ModelForm
    list_display = ("title", "slug", "pool", "enabled", "public", "position", "updated_at")
    list_editable = ("enabled", "public", "position")
    list_filter = ("enabled", "public", "pool")
    search_fields = ("title", "slug")
    ordering = ("position", "slug")
    inlines = (GrantInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return ("slug", "created_at", "updated_at") if obj else ("created_at", "updated_at")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # generations name it; switching it off is what is meant


@admin.register(Generation)
class GenerationAdmin(ReadOnlyAdmin):
    """What was asked for and what became of it; staff may cancel and try again."""

    list_display = (
        "created_at",
        "tenant",
        "model",
        "status",
        "size",
        "steps",
        "n",
        "done",
        "lane",
        "cost_ms",
        "error_code",
    )
    list_filter = ("status", "lane", "model")
    list_select_related = ("tenant", "model")
    search_fields = ("=id", "=user", "=key", "tenant__name")
    ordering = ("-created_at", "-id")
    actions = ("cancel", "retry")
    fieldsets = (
        (None, {"fields": ("id", "tenant", "user", "key", "model", "status")}),
        (_("What"), {"fields": ("prompt", "negative_prompt", "width", "height", "steps", "seed", "n", "params")}),
        (
            _("Where it is"),
            {"fields": ("lane", "pool", "worker", "priority", "done", "attempt", "lost", "fence", "lease_until")},
        ),
        (_("How it ended"), {"fields": ("error_code", "error_message", "warnings", "retry_of")}),
        (_("What it costs"), {"fields": ("estimate_ms", "cost_ms", "charged_on")}),
        (_("Times"), {"fields": ("created_at", "queued_at", "started_at", "finished_at", "cancel_requested_at")}),
    )  # fmt: skip

    def has_change_generation_permission(self, request: HttpRequest) -> bool:
        """For the actions: the rows themselves cannot be edited."""
        return request.user.has_perm("generation.change_generation")

    @admin.display(description=_("size"))
    def size(self, row: Generation) -> str:
        return f"{row.width} × {row.height}"

    @admin.action(description=_("Cancel the chosen generations"), permissions=["change_generation"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Generation]) -> None:
        self._each(request, rows, _cancel, _("%(n)d cancelled."))

    @admin.action(description=_("Draw the chosen generations again"), permissions=["change_generation"])
    def retry(self, request: HttpRequest, rows: QuerySet[Generation]) -> None:
        self._each(request, rows, _retry, _("%(n)d sent again."))

    def _each(self, request: HttpRequest, rows: QuerySet[Generation], do: Any, words: Any) -> None:
        done, refused = 0, []
        chosen = list(rows.select_related(None).only("id", "tenant_id", "user"))  # read before the scope narrows
        for row in chosen:
            try:
                with in_tenant(row.tenant_id):
                    do(row)
                done += 1
            except StudioError as error:
                refused.append(error.message)
        if done:
            self.message_user(request, words % {"n": done}, messages.SUCCESS)
        for message in dict.fromkeys(refused):
            self.message_user(request, message, messages.WARNING)


def _cancel(row: Generation) -> None:
    cancel_generation(row.pk)
    record("generation.cancelled_by_staff", target=f"generation:{row.pk}")


def _retry(row: Generation) -> None:
    """For the member who asked first: it counts on their limits and shows in their gallery."""
    if row.user is None:
        raise NotAllowed("nobody is left on whose behalf it could be drawn again")
    retry_generation(row.pk, caller_of_member(user_id=row.user, tenant_id=row.tenant_id))
    record("generation.retried_by_staff", target=f"generation:{row.pk}")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """The GPU workers as they last reported themselves."""

    list_display = ("name", "lane", "pool", "state", "device", "dtype", "memory", "passes", "seen_at", "release")
    list_filter = ("state", "lane", "pool")
    ordering = ("-seen_at",)

    @admin.display(description=_("memory"))
    def memory(self, worker: Worker) -> str:
        gib = 1024**3
        return f"{worker.memory_used / gib:.1f} / {worker.memory_total / gib:.1f} GiB" if worker.memory_total else "–"


@admin.register(Pool)
class PoolAdmin(PoolAdminBase):
    """The pools of workers; a paused one accepts work and draws none."""

    list_display = ("name", "lane", "is_drawing", "paused_at", "paused_reason")
    list_filter = ("lane",)
    fields = ("name", "lane", "paused_at", "paused_reason")
    readonly_fields = ("name", "lane", "paused_at")
    actions = ("pause", "resume")
    ordering = ("lane", "name")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # loading a model makes its pool

    def has_delete_permission(self, request: HttpRequest, obj: Pool | None = None) -> bool:
        return False

    @admin.display(description=_("drawing"), boolean=True, ordering="paused_at")
    def is_drawing(self, pool: Pool) -> bool:
        return pool.paused_at is None

    @admin.action(description=_("Pause the chosen pools"), permissions=["change"])
    def pause(self, request: HttpRequest, pools: QuerySet[Pool]) -> None:
        self._switch(request, pools.filter(paused_at=None), paused=True)

    @admin.action(description=_("Let the chosen pools draw again"), permissions=["change"])
    def resume(self, request: HttpRequest, pools: QuerySet[Pool]) -> None:
        self._switch(request, pools.exclude(paused_at=None), paused=False)

    def _switch(self, request: HttpRequest, pools: QuerySet[Pool], *, paused: bool) -> None:
        names = [str(pool) for pool in pools]
        pools.update(paused_at=timezone.now()) if paused else pools.update(paused_at=None, paused_reason="")
        for name in names:
            record("pool.paused" if paused else "pool.resumed", target=f"pool:{name}")
        words = _("Paused: %(names)s") if paused else _("Drawing again: %(names)s")
        self.message_user(request, words % {"names": ", ".join(names) or "–"}, messages.SUCCESS)
