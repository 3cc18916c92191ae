"""Filters that ask for a word instead of listing every value there is: a table of a million rows has no short list."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import Tenant, User
from accounts.models.user import normal_email
from accounts.staff.lists import MATCHES, read_id

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList


class WordFilter(admin.SimpleListFilter):
    """A box in the sidebar. Subclasses say how a word narrows the rows."""

    template = "admin/word_filter.html"
    input_type = "text"
    hint: Any = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Django shows a filter only when it has some."""
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """The box's value, and what else is filtered by, for the form's hidden fields."""
        others = [
            (name, value)
            for name, value in changelist.get_filters_params().items()
            if name != self.parameter_name and isinstance(value, list)
        ]
        kept = [(name, one) for name, values in others for one in values]
        if changelist.query:
            kept.append(("q", changelist.query))
        yield {
            "value": self.word,
            "others": kept,
            "clear": changelist.get_query_string(remove=[str(self.parameter_name)]),
        }

    @property
    def word(self) -> str:
        """What was typed."""
        return str(self.value() or "").strip().replace("\x00", "")[:200]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows for the word; all without one."""
        return self.narrow(queryset, self.word) if self.word else queryset

    def narrow(self, queryset: QuerySet[Any], word: str) -> QuerySet[Any]:
        """Keep the rows that the word means."""
        raise NotImplementedError


class TenantFilter(WordFilter):
    """By a tenant's name or id."""

    title = _("tenant")
    parameter_name = "of"
    hint = _("name or id")

    def narrow(self, queryset: QuerySet[Any], word: str) -> QuerySet[Any]:
        wanted = read_id(word)
        if wanted is not None:
            return queryset.filter(tenant_id=wanted)
        names = Tenant.objects.filter(name__icontains=word).values_list("pk", flat=True)[:MATCHES]
        return queryset.filter(tenant_id__in=list(names))


class PersonFilter(WordFilter):
    """By a person's address or id."""

    title = _("person")
    parameter_name = "by"
    hint = _("e-mail or id")

    def narrow(self, queryset: QuerySet[Any], word: str) -> QuerySet[Any]:
        wanted = read_id(word)
        if wanted is not None:
            return queryset.filter(user=wanted)
        people = User.objects.filter(email__contains=normal_email(word)).values_list("pk", flat=True)[:MATCHES]
        return queryset.filter(user__in=list(people))


class ActionFilter(WordFilter):
    """By an action, or the beginning of some."""

    title = _("action")
    parameter_name = "what"
    hint = _("key.revoked, or key. for all of keys")

    def narrow(self, queryset: QuerySet[Any], word: str) -> QuerySet[Any]:
        return queryset.filter(action__startswith=word) if word.endswith(".") else queryset.filter(action=word)


class ResultFilter(admin.SimpleListFilter):
    """What went well, or what did not."""

    title = _("result")
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Two words; a list of all results would read the whole table."""
        return [("ok", _("done")), ("not", _("refused or failed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "ok":
            return queryset.filter(result="ok")
        return queryset.exclude(result="ok") if self.value() == "not" else queryset


class LaneFilter(admin.SimpleListFilter):
    """By lane, of which there are two."""

    title = _("lane")
    parameter_name = "lane"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("blue", "blue"), ("green", "green")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(lane=self.value()) if self.value() else queryset


class DayFilter(WordFilter):
    """By a UTC day."""

    title = _("day")
    parameter_name = "day"
    input_type = "date"

    def narrow(self, queryset: QuerySet[Any], word: str) -> QuerySet[Any]:
        try:
            begin = datetime.combine(date.fromisoformat(word), datetime.min.time(), UTC)
            return queryset.filter(created_at__gte=begin, created_at__lt=begin + timedelta(days=1))
        except (ValueError, OverflowError):
            return queryset.none()
