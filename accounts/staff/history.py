"""History that staff read and nobody changes: ledger and audit log, filtered, and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.domain.audit import record
from accounts.domain.csv import BOM, csv_line
from accounts.models import User
from accounts.staff.lists import FindingMixin, ReadOnlyAdmin, name_key

PAGE = 500  # rows of an export that are read at once


class HistoryAdmin(FindingMixin, ReadOnlyAdmin):
    """A long table with people in it, newest first; what is filtered and searched can be taken home as CSV."""

    change_list_template = "admin/history_list.html"
    ordering = ("-created_at", "-id")
    list_select_related = ("tenant",)
    columns: tuple[str, ...] = ()  # of the file, beside the tenant's name and the person's address

    def get_urls(self) -> list[URLPattern]:
        """The file's address before the admin's own."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export.csv", self.admin_site.admin_view(self.export), name=name), *super().get_urls()]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Name the people on this page in one query."""
        found = super().get_changelist_instance(request)
        emails = name_people(found.result_list)
        for row in found.result_list:
            row.person_shown = emails.get(row.user, "")
        return found

    @admin.display(description=_("person"))
    def person(self, row: Any) -> str:
        """Who it was; somebody who is gone is an id."""
        shown = row.person_shown if hasattr(row, "person_shown") else name_people([row]).get(row.user, "")
        return shown or (str(row.user) if row.user else "–")

    @admin.display(description=_("key"))
    def key_name(self, row: Any) -> str:
        """Which key it was."""
        return name_key(row.key)

    @admin.display(description=_("time (UTC)"), ordering="-created_at")
    def at(self, row: Any) -> str:
        """To the second."""
        return f"{row.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    def export(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """GET: everything that the list with these filters holds, streamed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).get_queryset(request).order_by(*self.ordering)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        name = str(self.opts.model_name)
        record(f"{name}.exported", detail={"filters": request.GET.urlencode()[:500]})
        response = StreamingHttpResponse(self._pieces(rows), content_type="text/csv; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}-{timezone.now():%Y-%m-%d}.csv"'
        response.headers["Cache-Control"] = "no-store"
        return response

    def _header(self) -> list[str]:
        return ["created_at", "tenant", "tenant_id", "person", "user_id", *self.columns]

    def _pieces(self, rows: QuerySet[Any]) -> Iterator[str]:
        """Page by page, each from where the last one ended: no page costs more than the first.

        A piece is a whole page, because the scope is entered anew for each.
        """
        yield BOM + csv_line(self._header())
        after = Q()
        while True:
            page = list(rows.filter(after)[:PAGE])
            emails = name_people(page)
            yield "".join(csv_line(self._cells(row, emails)) for row in page)
            if len(page) < PAGE:
                return
            last = page[-1]
            after = Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk)

    def _cells(self, row: Any, emails: dict[UUID, str]) -> list[Any]:
        tenant = row.tenant.name if row.tenant_id else ""
        values = [getattr(row, name) for name in self.columns]
        return [row.created_at, tenant, row.tenant_id, emails.get(row.user, ""), row.user, *values]


def name_people(rows: Any) -> dict[UUID, str]:
    """The addresses of the people that rows name, in one query."""
    wanted = {row.user for row in rows if row.user}
    return dict(User.objects.filter(pk__in=wanted).values_list("pk", "email")) if wanted else {}
