"""Golden cases and comparisons in the admin: what is drawn, and what came out, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.errors import NotFound, StudioError
from accounts.staff.audited import AuditedMixin
from accounts.staff.filters import LaneFilter
from accounts.staff.lists import ReadOnlyAdmin
from accounts.web.requests import StudioRequest
from accounts.web.serving import VARY, media_file, send_file
from generation.domain.request import parse_request
from generation.models import ComparedCase, Comparison, GoldenCase
from generation.releases.compare.paths import picture_path
from generation.releases.compare.words import say_verdict
from generation.staff.compared import describe_comparison, say_against

if TYPE_CHECKING:
    CaseAdminBase = admin.ModelAdmin[GoldenCase]
    CaseFormBase = forms.ModelForm[GoldenCase]
else:
    CaseAdminBase, CaseFormBase = admin.ModelAdmin, forms.ModelForm

CACHING = "private, max-age=31536000, immutable"  # a picture's address is its hash
_FIELDS = {"steps": "num_inference_steps"}  # by the names that requests have


class GoldenCaseForm(CaseFormBase):
    """A case is read as strictly as a request for a picture, since it becomes one."""

    class Meta:
        model = GoldenCase
        fields = "__all__"

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        names = ("prompt", "negative_prompt", "width", "height", "steps", "true_cfg_scale", "seed")
        body = {_FIELDS.get(name, name): data[name] for name in names if data.get(name) not in (None, "")}
        try:
            parse_request(body | {"model": "any", "prompt": body.get("prompt", "")})
        except StudioError as error:
            back = {request: name for name, request in _FIELDS.items()}
            fields = getattr(error, "fields", None) or {}
            raise ValidationError({back.get(name, name): words for name, words in fields.items()}) from error
        return data


class GoldenCaseAdmin(AuditedMixin, CaseAdminBase):
    """The pictures by which lanes are compared; staff's own, so their prompts are no secret of a tenant's."""

    form = GoldenCaseForm
    list_display = ("slug", "words", "model", "task", "tolerance", "enabled", "position")
    list_editable = ("enabled", "position")
    list_filter = ("enabled", "model", "task", "tolerance")
    list_select_related = ("model",)
    search_fields = ("slug", "prompt", "note")
    ordering = ("model", "position", "slug")
    save_as = True
    show_facets = admin.ShowFacets.NEVER
    fieldsets = (
        (None, {"fields": ("slug", "model", "enabled", "position", "tolerance", "note")}),
        (
            _("What"),
            {
                "fields": ("prompt", "negative_prompt", "seed", ("width", "height"), "steps", "true_cfg_scale"),
                "description": _("An empty number means the model's own. Another prompt, seed or size is another "
                                 "picture: it has no reference until the next promotion."),
            },
        ),
        (
            _("From what"),
            {
                "fields": ("task", "starts_from", "strength", "mask"),
                "description": _("With another task than text to image a case starts from the picture of another one: "
                                 "the one that the release before has drawn, for both sides."),
            },
        ),
    )  # fmt: skip

    @admin.display(description=_("prompt"))
    def words(self, case: GoldenCase) -> str:
        return case.prompt if len(case.prompt) <= 60 else f"{case.prompt[:59]}…"


def show_verdict(verdict: str) -> str | SafeString:
    """A word in its colour."""
    if not verdict:
        return "–"
    return format_html('<span class="qs-verdict qs-{}">{}</span>', verdict, say_verdict(verdict))


class ComparisonAdmin(ReadOnlyAdmin):
    """What `release compare` found, newest first; one is a page of pictures side by side."""

    list_display = ("started", "shown", "lane", "release_name", "compared_with", "by", "promoted_at")
    list_filter = ("verdict", LaneFilter)
    search_fields = ("release_name", "against_release")
    ordering = ("-started_at", "-id")

    def get_urls(self) -> list[URLPattern]:
        """Pictures before the admin's own."""
        view = self.admin_site.admin_view(require_safe(self.picture))
        name = "generation_comparison_picture"
        return [path("<uuid:comparison>/pictures/<str:sha256>/", view, name=name), *super().get_urls()]

    @admin.display(description=_("time (UTC)"), ordering="-started_at")
    def started(self, row: Comparison) -> str:
        return f"{row.started_at:%Y-%m-%d %H:%M}"

    @admin.display(description=_("against"))
    def compared_with(self, row: Comparison) -> str:
        return say_against(row)

    @admin.display(description=_("verdict"), ordering="verdict")
    def shown(self, row: Comparison) -> str | SafeString:
        return show_verdict(row.verdict)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """GET: the report. There is nothing to change."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return TemplateResponse(
            request,
            "admin/comparison.html",
            {
                **self.admin_site.each_context(request),
                "title": _now("Comparison"),
                "opts": self.opts,
                "report": describe_comparison(row),
            },
        )

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """Nobody changes a comparison, so it has no history but its page."""
        raise Http404

    def picture(self, request: StudioRequest, comparison: UUID, sha256: str) -> HttpResponseBase:
        """GET: one of its pictures, for those who may see comparisons."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        named = _cases_with(comparison, sha256)
        if len(sha256) != 64 or not named.exists():
            raise Http404
        try:
            file = media_file(picture_path(sha256))
        except NotFound as error:
            raise Http404 from error
        response = send_file(request, file, etag=f'"{sha256}"')
        if response.status_code == 200:
            response.headers["Content-Type"] = "image/png"
        response.headers["ETag"] = f'"{sha256}"'
        response.headers["Cache-Control"] = CACHING
        response.headers["Vary"] = VARY
        return response


def _cases_with(comparison: UUID, sha256: str) -> QuerySet[ComparedCase]:
    rows = ComparedCase.objects.filter(comparison_id=comparison)
    return rows.filter(Q(new_sha256=sha256) | Q(old_sha256=sha256) | Q(input_sha256=sha256))


def comparison_url(identity: Any) -> str:
    """Where its page is."""
    return reverse("admin:generation_comparison_change", args=[identity])
