"""What was asked for and what became of it, in the admin; prompts are shown to those who may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from accounts.domain.audit import record
from accounts.domain.callers import caller_of_member
from accounts.domain.codes import say_error
from accounts.errors import NotAllowed, StudioError
from accounts.staff.filters import DayFilter, LaneFilter, PersonFilter, TenantFilter, WordFilter
from accounts.staff.history import name_people
from accounts.staff.inlines import NamedFormSet, ReadInlineMixin
from accounts.staff.lists import FindingMixin, ReadOnlyAdmin, name_key, short_id
from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_generation
from generation.domain.retry import retry_generation
from generation.models import Failure, Generation

if TYPE_CHECKING:
    InlineBase = admin.StackedInline[Failure, Generation]
else:
    InlineBase = admin.StackedInline

READ_PROMPTS = "generation.read_prompts"
PRIVATE = ("prompt", "folded", "negative_prompt", "params")  # `params` holds the metadata that came with the request


class FailureInline(ReadInlineMixin, InlineBase):
    """What workers logged about it."""

    model = Failure
    formset = NamedFormSet
    fields = ("created_at", "code", "worker_name", "log")
    readonly_fields = fields
    ordering = ("-created_at",)

    @admin.display(description=_("the worker's last lines"))
    def log(self, row: Failure) -> str:
        return show_lines(row.lines)


def show_lines(lines: str) -> str:
    """Log lines as they were written."""
    return format_html('<pre class="qs-lines">{}</pre>', lines) if lines else "–"


class GenerationAdmin(FindingMixin, ReadOnlyAdmin):
    """Staff may cancel and try again; a row itself is never edited."""

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
    list_filter = (TenantFilter, PersonFilter, DayFilter, "status", LaneFilter, "model")
    list_select_related = ("tenant", "model")
    id_fields = ("id", "retry_of")
    person_field, key_field = "user", "key"
    text_fields = ("request_id",)
    ordering = ("-created_at", "-id")
    actions = ("cancel", "retry")
    inlines = (FailureInline,)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the permission the words are not even read."""
        words = ("prompt", "negative_prompt", "params") if request.user.has_perm(READ_PROMPTS) else ("words",)
        where = ("lane", "pool", "worker", "priority", "step", "done", "attempt", "lost", "fence", "lease_until")
        times = ("created_at", "queued_at", "started_at", "finished_at", "cancel_requested_at")
        return (
            (None, {"fields": ("id", "tenant", "person", "key_name", "model", "status", "request_id")}),
            (_("What"), {"fields": (*words, "width", "height", "steps", "seed", "n")}),
            (_("Where it is"), {"fields": where}),
            (_("How it ended"), {"fields": ("error_code", "error_message", "warnings", "retry_of")}),
            (_("What it costs"), {"fields": ("estimate_ms", "cost_ms", "charged_on")}),
            (_("Times"), {"fields": times}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("words", "person", "key_name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Generation]:
        rows: QuerySet[Generation] = super().get_queryset(request)
        return rows.defer(*PRIVATE)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """No guessing of prompts by filtering for them."""
        return not lookup.startswith(PRIVATE) and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display(description=_("member"))
    def person(self, row: Generation) -> str:
        return name_people([row]).get(row.user, str(row.user)) if row.user else "–"

    @admin.display(description=_("key"))
    def key_name(self, row: Generation) -> str:
        return name_key(row.key)

    @admin.display(description=_("prompt"))
    def words(self, row: Generation) -> str:
        return _now("hidden")

    @admin.display(description=_("size"))
    def size(self, row: Generation) -> str:
        return f"{row.width}\u00a0×\u00a0{row.height}"

    @admin.action(description=_("Cancel the chosen generations"), permissions=["act"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Generation]) -> None:
        self._each(request, rows, _cancel, _("%(n)d cancelled."))

    @admin.action(description=_("Draw the chosen generations again"), permissions=["act"])
    def retry(self, request: HttpRequest, rows: QuerySet[Generation]) -> None:
        self._each(request, rows, _retry, _("%(n)d sent again."))

    def _each(self, request: HttpRequest, rows: QuerySet[Generation], do: Any, words: Any) -> None:
        done, refused = 0, []
        chosen = list(
            rows.select_related(None).defer(None).only("id", "tenant_id", "user")
        )  # read before the scope narrows
        for row in chosen:
            try:
                with in_tenant(row.tenant_id):
                    do(row)
                done += 1
            except StudioError as error:
                refused.append(say_error(error))
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


class CodeFilter(WordFilter):
    """By the code of a failure."""

    title = _("code")
    parameter_name = "code"

    def narrow(self, queryset: QuerySet[Failure], word: str) -> QuerySet[Failure]:
        return queryset.filter(code=word)


class FailureAdmin(FindingMixin, ReadOnlyAdmin):
    """What workers logged about rows that failed in their hands, of the last 30 days."""

    list_display = ("created_at", "tenant", "code", "worker_name", "row")
    list_filter = (TenantFilter, DayFilter, CodeFilter)
    list_select_related = ("tenant",)
    ordering = ("-created_at", "-id")
    id_fields = ("id", "generation_id", "worker")
    fields = ("created_at", "tenant", "generation", "code", "worker_name", "log")
    readonly_fields = ("log",)

    @admin.display(description=_("generation"))
    def row(self, row: Failure) -> str:
        return short_id(row.generation_id)

    @admin.display(description=_("the worker's last lines"))
    def log(self, row: Failure) -> str:
        return show_lines(row.lines)
