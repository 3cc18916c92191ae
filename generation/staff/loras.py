"""LoRAs in the admin: a file is looked over before it counts, and never changes afterwards."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from accounts.domain.codes import say_error
from accounts.errors import StudioError
from accounts.staff.audited import AuditedMixin
from accounts.staff.inlines import NamedFormSet
from generation.domain.lorafiles import (
    PIECE_BYTES,
    Inspected,
    add_piece,
    inspect_lora,
    refit_loras,
    remove_lora,
    store_lora,
    upload_path,
)
from generation.engine.lorafile import MAX_BYTES
from generation.engine.lorarules import RULES
from generation.errors import LoraUnfit
from generation.models import Lora, LoraGrant

if TYPE_CHECKING:
    LoraAdminBase = admin.ModelAdmin[Lora]
    LoraFormBase = forms.ModelForm[Lora]
    GrantInlineBase = admin.TabularInline[LoraGrant, Lora]
else:
    LoraAdminBase, LoraFormBase, GrantInlineBase = admin.ModelAdmin, forms.ModelForm, admin.TabularInline


class LoraForm(LoraFormBase):
    """A new LoRA comes with its file: whole in the form where it is small, else in pieces that were sent before."""

    family = forms.ChoiceField(label=_("family"), choices=[(name, name) for name in sorted(RULES)])
    file = forms.FileField(
        label=_("file"),
        required=False,
        help_text=_("safetensors, made for one of the models on offer. Every key and every number is looked at."),
        widget=forms.FileInput(attrs={"accept": ".safetensors"}),
    )
    upload = forms.CharField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Lora
        fields = "__all__"

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        if self.instance.sha256 or "family" not in data:
            return data
        try:
            source = self._find_file(data)
            found = inspect_lora(source, data["family"]) if source else None
        except (LoraUnfit, ValueError, OSError) as error:
            self.add_error("file", str(error))
            return data
        if source is None or found is None:
            self.add_error("file", _("Choose a file."))
            return data
        self._take(source, found)
        return data

    def _find_file(self, data: dict[str, Any]) -> Path | None:
        sent = data.get("file")
        if not isinstance(sent, UploadedFile):
            source = upload_path(data["upload"]) if data.get("upload") else None
            return source if source is not None and source.is_file() else None
        upload = secrets.token_hex(8)
        at = 0
        for chunk in sent.chunks():
            at = add_piece(upload, at=at, data=chunk)
        return upload_path(upload)

    def _take(self, source: Path, found: Inspected) -> None:
        self.source = source
        lora = self.instance
        lora.sha256, lora.bytes, lora.rank, lora.fits = found.sha256, found.bytes, found.rank, list(found.fits)


class LoraGrantInline(GrantInlineBase):
    """Which tenants may use a LoRA that is not for all."""

    model = LoraGrant
    formset = NamedFormSet
    extra = 0
    autocomplete_fields = ("tenant",)
    fields = ("tenant",)


class LoraAdmin(AuditedMixin, LoraAdminBase):
    """The LoRAs on offer."""

    form = LoraForm
    list_display = ("title", "slug", "family", "shown_fits", "rank", "size", "enabled", "public", "position")
    list_editable = ("enabled", "public", "position")
    list_filter = ("enabled", "public", "family")
    search_fields = ("title", "slug", "trigger_words", "sha256")
    ordering = ("position", "slug")
    inlines = (LoraGrantInline,)
    actions = ("refit",)
    show_facets = admin.ShowFacets.NEVER
    add_form_template = "admin/lora_form.html"

    def get_fieldsets(self, request: HttpRequest, obj: Lora | None = None) -> Any:
        """The file on the first page only."""
        who = ("title", "description", "trigger_words", "enabled", "public", "position")
        about = (
            _("About the file"),
            {"fields": ("family", "shown_fits", "rank", "size", "sha256", "licence", "source")},
        )
        scales = (_("Strength"), {"fields": (("default_scale", "min_scale", "max_scale"),)})
        if obj is not None:
            return ((None, {"fields": ("slug", *who)}), scales, about)
        return ((None, {"fields": ("family", "file", "upload", "slug", *who, "licence", "source")}), scales)

    def get_readonly_fields(self, request: HttpRequest, obj: Lora | None = None) -> tuple[str, ...]:
        return ("slug", "family", "shown_fits", "rank", "size", "sha256") if obj else ()

    def get_form(self, request: HttpRequest, obj: Lora | None = None, change: bool = False, **kwargs: Any) -> Any:
        """A row that is there has its file: the form asks for none, and its family stands."""
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is not None:
            for name in ("file", "upload", "family"):
                form.base_fields.pop(name, None)
        return form

    def get_urls(self) -> list[URLPattern]:
        """Pieces before the admin's own."""
        view = self.admin_site.admin_view(require_POST(self.take_piece))
        return [path("pieces/<str:upload>/", view, name="generation_lora_piece"), *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        """GET: the form, with what its script needs to send a large file in pieces."""
        pieces = {"upload": secrets.token_hex(8), "piece_bytes": PIECE_BYTES}
        return super().add_view(request, form_url, {**(extra_context or {}), "pieces": pieces})

    def take_piece(self, request: HttpRequest, upload: str) -> HttpResponseBase:
        """POST: one piece of a file, as it is; answers how many bytes are there, which is where the next one begins."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        at = request.GET.get("at", "")
        data = request.body
        if not (at.isascii() and at.isdigit() and len(at) <= 12) or len(data) > PIECE_BYTES:
            return HttpResponseBadRequest()
        if int(at) + len(data) > MAX_BYTES:
            return JsonResponse({"size": 0, "error": f"max {MAX_BYTES:,} bytes"}, status=413)
        try:
            return JsonResponse({"size": add_piece(upload, at=int(at), data=data)})
        except ValueError:
            return HttpResponseBadRequest()

    def save_model(self, request: HttpRequest, obj: Lora, form: Any, change: bool) -> None:
        """The file first: a row without one could be drawn with."""
        source: Path | None = getattr(form, "source", None)
        if source is not None:
            store_lora(source, obj.sha256)
            transaction.on_commit(lambda: source.unlink(missing_ok=True), robust=True)
        super().save_model(request, obj, form, change)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """What the domain refuses is said on the LoRA's page."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except StudioError as error:
            messages.error(request, say_error(error))
            return HttpResponseRedirect(reverse("admin:generation_lora_change", args=[object_id]))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Likewise for the chosen ones of the list."""
        try:
            return super().changelist_view(request, extra_context)
        except StudioError as error:
            messages.error(request, say_error(error))
            return HttpResponseRedirect(request.get_full_path())

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """The row and its file, unless generations wait for it."""
        with transaction.atomic():
            self._record(request, obj, "deleted", {"name": str(obj)})
            remove_lora(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Lora]) -> None:
        """All of them or none."""
        with transaction.atomic():
            for obj in list(queryset):
                self.delete_model(request, obj)

    @admin.display(description=_("fits"))
    def shown_fits(self, lora: Lora) -> str:
        return ", ".join(lora.fits) or "–"

    @admin.display(description=_("size"), ordering="bytes")
    def size(self, lora: Lora) -> str:
        return f"{lora.bytes / 1_000_000:,.1f} MB"

    @admin.action(description=_("Hold all LoRAs against the models again"), permissions=["change"])
    def refit(self, request: HttpRequest, loras: QuerySet[Lora]) -> None:
        """After a model got other files."""
        changed = refit_loras()
        named = "; ".join(f"{slug}: {', '.join(fits) or '–'}" for slug, fits in changed.items())
        self.message_user(request, named or _("Nothing has changed."))
