"""One box for staff: a request's id, an e-mail, the beginning of a key, an id, a name; it leads to the thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from accounts.models import AuditEvent, Tenant, User
from accounts.models.user import normal_email
from accounts.staff.lists import find_keys, read_id, shown_of_key
from generation.models import Generation, Worker

SHOWN = 10  # of each kind
EVENTS_COUNTED = 100
MAX_TERM = 200


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a term leads to."""

    kind: str
    title: str
    url: str
    note: str = ""


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """GET /admin/search/?q=…: straight to the thing where there is one, else a choice."""
    term = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_TERM]
    if term.startswith("qs_") and term != shown_of_key(term):
        # Somebody pasted a whole key: it shall not stand in the address, the browser's history and other logs.
        return HttpResponseRedirect(f"{request.path}?q={shown_of_key(term)}")
    found = list(find_anything(term, request.user)) if term else []
    if len(found) == 1:
        return HttpResponseRedirect(found[0].url)
    context = {**admin.site.each_context(request), "title": _("Search"), "term": term, "found": found}
    return TemplateResponse(request, "admin/search.html", context)


def find_anything(term: str, person: User | AnonymousUser) -> Iterator[Found]:
    """Everything that somebody of staff may look at and that the term names. Runs across tenants."""
    wanted = read_id(term)
    kinds: list[tuple[str, Iterator[Found]]]
    if wanted is not None:
        kinds = [
            ("generation.view_generation", _generations(wanted)),
            ("accounts.view_auditevent", _events(wanted.hex)),
            ("accounts.view_tenant", _tenants(pk=wanted)),
            ("accounts.view_user", _people(pk=wanted)),
            ("accounts.view_tenant", _keys(wanted)),
            ("generation.view_worker", _workers(wanted)),
        ]
    elif term.startswith("qs_"):
        kinds = [("accounts.view_tenant", _keys(term))]
    elif "@" in term:
        kinds = [("accounts.view_user", _people(email__contains=normal_email(term)))]
    else:
        kinds = [
            ("accounts.view_tenant", _tenants(name__icontains=term)),
            ("accounts.view_user", _people(name__icontains=term)),
        ]
    for permission, things in kinds:
        if person.has_perm(permission):
            yield from things


def _generations(wanted: UUID) -> Iterator[Found]:
    """By their own id, or that of the request which asked for them."""
    rows = Generation.objects.select_related("tenant", "model")
    shown = rows.only("status", "created_at", "tenant__name", "model__title")
    by_id, by_request = shown.filter(pk=wanted), shown.filter(request_id=wanted.hex).order_by("created_at")[:SHOWN]
    for row in (*by_id, *by_request):
        note = f"{row.tenant.name}, {row.model.title}, {row.get_status_display()}"
        yield Found(_("generation"), str(row.pk), _change("generation_generation", row.pk), note)


def _events(request_id: str) -> Iterator[Found]:
    count = AuditEvent.objects.filter(request_id=request_id)[:EVENTS_COUNTED].count()
    if count:
        note = ngettext("%(n)d event of this request", "%(n)d events of this request", count) % {"n": count}
        url = f"{reverse('admin:accounts_auditevent_changelist')}?request_id={request_id}"
        yield Found(_("audit log"), request_id, url, note)


def _tenants(**by: Any) -> Iterator[Found]:
    for row in Tenant.objects.filter(**by).order_by("name", "pk")[:SHOWN]:
        note = _("suspended") if row.suspended_at else ""
        yield Found(_("tenant"), row.name, _change("accounts_tenant", row.pk), note)


def _people(**by: Any) -> Iterator[Found]:
    for row in User.objects.filter(**by).order_by("email")[:SHOWN]:
        yield Found(_("person"), row.email, _change("accounts_user", row.pk), row.name)


def _keys(wanted: str | UUID) -> Iterator[Found]:
    """A key leads to its tenant, whose page lists and revokes it."""
    for row in find_keys(wanted)[:SHOWN]:
        note = f"{row.tenant.name}, {row.user.email}" + (f", {_('revoked')}" if row.revoked_at else "")
        yield Found(_("API key"), f"{row.prefix}… {row.name}", _change("accounts_tenant", row.tenant_id), note)


def _workers(wanted: UUID) -> Iterator[Found]:
    for row in Worker.objects.filter(pk=wanted):
        yield Found(_("GPU worker"), row.name, _change("generation_worker", row.pk), row.get_state_display())


def _change(name: str, pk: UUID) -> str:
    return reverse(f"admin:{name}_change", args=[pk])
