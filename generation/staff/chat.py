"""Chat in the admin: upstreams, the models that tenants see, tenants' rules for answers, and the calls.

Words that a tenant keeps of its calls are its own: no page here shows them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from accounts.errors import InvalidField
from accounts.staff.audited import AuditedMixin
from accounts.staff.filters import DayFilter, LaneFilter, PersonFilter, TenantFilter
from accounts.staff.history import name_people
from accounts.staff.inlines import NamedFormSet
from accounts.staff.lists import FindingMixin, ReadOnlyAdmin, name_key
from generation.books.breakers import read_breakers
from generation.books.rules import check_rule
from generation.books.sampling import check_sampling
from generation.books.upstreams import OPTIONAL, read_upstream, seal_credential
from generation.chat.asking import NotWell, check_health, list_models
from generation.models import ChatCall, ChatGrant, ChatModel, ChatTarget, PromptRule, Upstream

if TYPE_CHECKING:
    UpstreamAdminBase = admin.ModelAdmin[Upstream]
    ChatModelAdminBase = admin.ModelAdmin[ChatModel]
    RuleAdminBase = admin.ModelAdmin[PromptRule]
    UpstreamFormBase = forms.ModelForm[Upstream]
    ChatModelFormBase = forms.ModelForm[ChatModel]
    RuleFormBase = forms.ModelForm[PromptRule]
    TargetInlineBase = admin.TabularInline[ChatTarget, ChatModel]
    GrantInlineBase = admin.TabularInline[ChatGrant, ChatModel]
else:
    UpstreamAdminBase = ChatModelAdminBase = RuleAdminBase = admin.ModelAdmin
    UpstreamFormBase = ChatModelFormBase = RuleFormBase = forms.ModelForm
    TargetInlineBase = GrantInlineBase = admin.TabularInline

WORDS = ("prompt", "answer")
NAMES_SHOWN = 20  # models of an upstream
STATES = {"closed": _("closed"), "open": _("open"), "half_open": _("is tried again")}


class UpstreamForm(UpstreamFormBase):
    """Read by the very code that asks the server; a credential goes in and never comes out."""

    takes = forms.MultipleChoiceField(
        label=_("optional fields that it takes"),
        required=False,
        choices=[(name, name) for name in OPTIONAL],
        initial=list(OPTIONAL),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("What it does not take is not sent to it."),
    )
    credential = forms.CharField(
        label=_("credential"),
        required=False,
        max_length=2000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("A new one, sent as a bearer token and stored encrypted; empty: it stays as it is."),
    )
    without_credential = forms.BooleanField(label=_("no credential"), required=False)

    class Meta:
        model = Upstream
        exclude = ("credential",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and self.instance.takes is None:
            self.initial["takes"] = list(OPTIONAL)

    def clean_takes(self) -> list[str] | None:
        """All of them is `None`, so that a field of a later release is among them."""
        takes: list[str] = self.cleaned_data["takes"]
        return None if set(takes) == set(OPTIONAL) else takes

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        names = [field.name for field in Upstream._meta.get_fields() if hasattr(field, "attname")]
        row = {name: data.get(name, getattr(self.instance, name)) for name in names} | {"slug": self._slug(data)}
        if not self.errors:
            try:
                read_upstream(row, credential=data.get("credential") or "")
            except ValueError as error:
                raise ValidationError(str(error)) from error
        return data

    def _slug(self, data: dict[str, Any]) -> str:
        return str(data.get("slug") or self.instance.slug)

    def save(self, commit: bool = True) -> Upstream:
        """With the credential, where one was typed."""
        row = self.instance
        if self.cleaned_data.get("without_credential"):
            row.credential = ""
        elif self.cleaned_data.get("credential"):
            row.credential = seal_credential(self.cleaned_data["credential"])
        return super().save(commit=commit)


CREDENTIAL = _("Credential")


class UpstreamAdmin(AuditedMixin, UpstreamAdminBase):
    """The servers that answer chat, and how they are."""

    form = UpstreamForm
    list_display = ("slug", "kind", "base_url", "breaker", "has_credential", "concurrency", "weight", "enabled")
    list_editable = ("enabled",)
    list_filter = ("kind", "enabled")
    search_fields = ("slug", "base_url")
    actions = ("ask",)
    change_form_template = "admin/upstream_form.html"
    fieldsets = (
        (None, {"fields": ("slug", "kind", "base_url", "enabled")}),
        (CREDENTIAL, {"fields": ("credential", "without_credential")}),
        (_("Bounds"), {"fields": ("connect_s", "first_byte_s", "loading_s", "idle_s", "total_s")}),
        (_("Share"), {"fields": ("concurrency", "weight")}),
        (_("Further"), {"fields": ("takes", "health_path", "link_local")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Upstream | None = None) -> tuple[str, ...]:
        return ("has_credential", *(("slug",) if obj else ()))

    def get_fieldsets(self, request: HttpRequest, obj: Upstream | None = None) -> Any:
        """Whoever only looks learns whether there is a credential: shown as the model's field, it would be told."""
        found = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj) or obj is None:
            return found
        return [(title, {"fields": ("has_credential",)} if title == CREDENTIAL else part) for title, part in found]

    def get_urls(self) -> list[URLPattern]:
        """The test before the admin's own."""
        view = self.admin_site.admin_view(require_POST(self.ask_one))
        return [path("<path:object_id>/ask/", view, name="generation_upstream_ask"), *super().get_urls()]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With the breakers of all of them, asked at once."""
        found = super().get_changelist_instance(request)
        states = read_breakers([row.slug for row in found.result_list])
        for row in found.result_list:
            row.breaker_state = states.get(row.slug, "")
        return found

    @admin.display(description=_("breaker"))
    def breaker(self, row: Any) -> str:
        return str(STATES.get(row.breaker_state, "–"))

    @admin.display(description=_("credential"), boolean=True)
    def has_credential(self, row: Upstream) -> bool:
        return bool(row.credential)

    @admin.action(description=_("Ask the chosen upstreams for their models"), permissions=["change"])
    def ask(self, request: HttpRequest, rows: QuerySet[Upstream]) -> None:
        """One after the other; each has a few seconds."""
        for row in list(rows):
            say_how_it_is(request, row)

    def ask_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: the button of its page."""
        row = get_object_or_404(Upstream, pk=object_id)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        say_how_it_is(request, row)
        return HttpResponseRedirect(reverse("admin:generation_upstream_change", args=[row.pk]))


def say_how_it_is(request: HttpRequest, row: Upstream) -> None:
    """Ask a server for its health and its models, and say what it answers."""
    try:
        upstream = read_upstream(vars(row))
        asyncio.run(check_health(upstream))
        names = asyncio.run(list_models(upstream))
    except (NotWell, ValueError) as error:
        messages.error(request, _now("%(name)s is not well: %(why)s") % {"name": row.slug, "why": error})
        return
    shown = ", ".join(names[:NAMES_SHOWN]) + (" …" if len(names) > NAMES_SHOWN else "")
    messages.success(
        request, _now("%(name)s is well. Its models: %(models)s") % {"name": row.slug, "models": shown or "–"}
    )


class ChatModelForm(ChatModelFormBase):
    """What requests may not say, a model's own sampling may not either."""

    class Meta:
        model = ChatModel
        fields = "__all__"

    def clean_sampling(self) -> dict[str, Any]:
        """The bounds of a request's."""
        sampling = self.cleaned_data["sampling"] or {}
        try:
            check_sampling(sampling if isinstance(sampling, dict) else {"": sampling})
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return dict(sampling)


class TargetInline(TargetInlineBase):
    """Where a chat model is answered."""

    model = ChatTarget
    extra = 0
    fields = ("upstream", "name", "context_tokens")


class ChatGrantInline(GrantInlineBase):
    """Which tenants may use a chat model that is not for all."""

    model = ChatGrant
    formset = NamedFormSet
    extra = 0
    autocomplete_fields = ("tenant",)
    fields = ("tenant",)


class ChatModelAdmin(AuditedMixin, ChatModelAdminBase):
    """The chat models on offer."""

    form = ChatModelForm
    list_display = ("title", "slug", "max_tokens", "max_prompt_chars", "enabled", "public", "position", "updated_at")
    list_editable = ("enabled", "public", "position")
    list_filter = ("enabled", "public")
    search_fields = ("title", "slug")
    ordering = ("position", "slug")
    inlines = (TargetInline, ChatGrantInline)

    def get_readonly_fields(self, request: HttpRequest, obj: ChatModel | None = None) -> tuple[str, ...]:
        return ("slug",) if obj else ()


class RuleForm(RuleFormBase):
    """As the tenant's own rules are: read by the filter, and together with the others that it has."""

    class Meta:
        model = PromptRule
        fields = ("kind", "action", "text", "enabled")

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or self.cleaned_data
        if not self.errors:
            row = PromptRule(pk=self.instance.pk, tenant_id=self.instance.tenant_id, **data)
            try:
                check_rule(row)
            except InvalidField as error:
                raise ValidationError({"text": error.message}) from error
        return data


class PromptRuleAdmin(AuditedMixin, RuleAdminBase):
    """Tenants' rules for answers. Their admins make them; staff correct one, or take it away."""

    form = RuleForm
    fields = ("tenant", "kind", "action", "text", "enabled")
    list_display = ("text", "tenant", "kind", "action", "enabled", "updated_at")
    list_filter = (TenantFilter, "kind", "action", "enabled")
    list_select_related = ("tenant",)
    readonly_fields = ("tenant",)
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


class ChatCallAdmin(FindingMixin, ReadOnlyAdmin):
    """What was asked of whom, how long it took and what it cost; never its words."""

    list_display = (
        "created_at",
        "tenant",
        "model",
        "upstream",
        "outcome",
        "tokens_in",
        "tokens_out",
        "first_byte_ms",
        "total_ms",
        "lane",
    )
    list_filter = (TenantFilter, PersonFilter, DayFilter, "outcome", LaneFilter)
    list_select_related = ("tenant",)
    id_fields = ("id",)
    person_field, key_field = "user", "key"
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": ("id", "tenant", "person", "key_name", "model", "upstream", "lane", "created_at")}),
        (_("How it ended"), {"fields": ("outcome", "finish", "attempts", "first_byte_ms", "total_ms")}),
        (
            _("What it costs"),
            {"fields": ("prompt_chars", "tokens", "tokens_in", "tokens_out", "estimated", "charged_on")},
        ),
        (_("Where it is"), {"fields": ("fence", "lease_until")}),
    )
    readonly_fields = ("person", "key_name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatCall]:
        rows: QuerySet[ChatCall] = super().get_queryset(request)
        return rows.defer(*WORDS)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """No guessing of words by filtering for them."""
        return not lookup.startswith(WORDS) and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display(description=_("member"))
    def person(self, row: ChatCall) -> str:
        return name_people([row]).get(row.user, str(row.user)) if row.user else "–"

    @admin.display(description=_("key"))
    def key_name(self, row: ChatCall) -> str:
        return name_key(row.key)
