"""The page of the audit log, and the same as a file."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.domain.auditlog import Event, Filters, actions_of, export_events, list_events
from accounts.domain.auditwords import RESULTS, action_words, part_words, result_words
from accounts.domain.callers import Caller
from accounts.domain.codes import say_error
from accounts.domain.pages import Page
from accounts.domain.roles import Right
from accounts.enums import Role
from accounts.errors import InvalidField, NotAllowed
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest

PER_PAGE = 50
NAMES = ("action", "person", "result", "day")
# What is named by its id alone: the sentence says what it is.
NAMELESS = ("tenant", "invitation", "export", "user", "key", "generation")


@never_cache
@require_safe
@member_page
def audit_log(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Who did what, when, from where, with which result."""
    filters, problem, status = _filters(request), "", 200
    try:
        page = list_events(by=caller, filters=filters, cursor=request.GET.get("cursor") or None, limit=PER_PAGE)
    except NotAllowed:
        return render(request, "403.html", status=403)
    except InvalidField as error:
        page, problem, status = Page(results=[], next=None, previous=None), capfirst(say_error(error)), 400
    context = {
        "events": [_row(event) for event in page.results],
        "problem": problem,
        "filters": filters,
        "query": urlencode(_used(filters)),
        "newer": _address(filters, page.previous),
        "older": _address(filters, page.next),
        "actions": sorted(((name, action_words(name)) for name in actions_of()), key=lambda pair: pair[1]),
        "results": [(name, str(words)) for name, words in RESULTS.items()],
        "may_change": caller.has(Right.CHANGE_TENANT),
        "may_see_audit": True,
    }
    return render(request, "accounts/audit.html", context, status=status)


@never_cache
@require_safe
@member_page
def audit_csv(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """All that the filters find, streamed."""
    try:
        lines = export_events(by=caller, filters=_filters(request))
    except NotAllowed:
        return render(request, "403.html", status=403)
    except InvalidField:
        return audit_log(request)
    headers = {"Content-Disposition": f'attachment; filename="audit-{timezone.now():%Y-%m-%d}.csv"'}
    return StreamingHttpResponse(
        (line.encode() for line in lines), content_type="text/csv; charset=utf-8", headers=headers
    )


def _filters(request: StudioRequest) -> Filters:
    return Filters(**{name: request.GET.get(name, "").strip() for name in NAMES})


def _used(filters: Filters) -> dict[str, str]:
    return {name: value for name in NAMES if (value := getattr(filters, name))}


def _address(filters: Filters, cursor: str | None) -> str:
    return urlencode({**_used(filters), "cursor": cursor}) if cursor else ""


def _row(event: Event) -> dict[str, Any]:
    row = event.row
    kind, _colon, identity = row.target.rpartition(":")
    return {
        "row": row,
        "what": action_words(row.action),
        "result": result_words(row.result),
        "person": event.person,
        "key": event.key,
        "target": event.target_name or ("" if kind in NAMELESS else row.target),
        "id": identity if kind in NAMELESS and kind != "tenant" and not event.target_name else "",
        "detail": [text for name, value in _pairs(row.detail) if (text := _say_part(name, value, event))],
    }


def _pairs(detail: dict[str, Any]) -> list[tuple[str, Any]]:
    """The parts of an event's detail; one that is a change by itself has no names."""
    return [("", detail)] if detail.keys() == {"from", "to"} else list(detail.items())


def _say_part(name: str, value: Any, event: Event) -> str:
    """A part of the detail, unless the event's target says it already."""
    if name in ("name", "prefix") and isinstance(value, str) and value in event.target_name:
        return ""
    return _say(name, event.names.get(value, value) if isinstance(value, str) else value)


def _say(name: str, value: Any) -> str:
    text = _plain(value)
    return _("%(what)s: %(value)s") % {"what": part_words(name), "value": text} if name and text else text


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        if value.keys() == {"from", "to"}:
            return f"{_plain(value['from']) or '–'} → {_plain(value['to']) or '–'}"
        return ", ".join(_say(name, inner) for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if value in Role.values:
        return str(Role(value).label)
    return str(value).lower() if isinstance(value, bool) else str(value)
