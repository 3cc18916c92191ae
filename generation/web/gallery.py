"""The gallery: everything the tenant has drawn, and the page of one generation."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_datetime
from django.utils.formats import localize
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.domain.callers import Caller
from accounts.domain.codes import say_code
from accounts.enums import Scope
from accounts.errors import StudioError
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.domain.gallery import get_generation, list_generations
from generation.domain.remove import remove_generation
from generation.enums import FINAL
from generation.errors import GenerationNotFound, NotFinished

PER_PAGE = 36
MAX_SEARCH = 200


@never_cache
@vary_on_headers("HX-Request")
@require_safe
@member_page
def gallery(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """The wall of pictures; htmx asks for the next piece of it, or for the whole wall of another search."""
    query = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_SEARCH]
    starred = request.GET.get("starred") == "1"
    cursor = request.GET.get("cursor") or None
    try:
        page = list_generations(
            q=query or None,
            status=None,
            model=None,
            starred="true" if starred else None,
            created_after=None,
            cursor=cursor,
            limit=PER_PAGE,
        )
    except StudioError:
        raise Http404 from None  # a cursor that is none of ours
    more = {"q": query, "starred": "1" if starred else "", "cursor": page.next}
    context = {
        "generations": page.results,
        "more": urlencode({name: value for name, value in more.items() if value}) if page.next else "",
        "q": query,
        "starred": starred,
        "first": cursor is None,
        "may_write": caller.may(Scope.IMAGES_WRITE),
    }
    return render(request, _part_of(request), context)


def _part_of(request: HttpRequest) -> str:
    """The template that answers: a page, the wall of another search, or the next piece of the wall."""
    if "HX-Request" not in request.headers or "HX-History-Restore-Request" in request.headers:
        return "generation/gallery.html"
    return "generation/wall.html" if request.headers.get("HX-Target") == "wall" else "generation/shots.html"


@never_cache
@require_safe
@member_page
def picture(request: StudioRequest, caller: Caller, generation: UUID) -> HttpResponseBase:
    """One generation with all its parameters."""
    try:
        found = get_generation(generation)
    except GenerationNotFound:
        raise Http404 from None
    context = {
        "generation": found,
        "over": found["status"] in FINAL,
        "why": say_code(found["error"]["code"], found["error"]["message"]) if found["error"] else "",
        "created": parse_datetime(found["created_at"]),
        "seconds": _seconds(found["timings"]["run_ms"]),
        "may_write": caller.may(Scope.IMAGES_WRITE),
    }
    return render(request, "generation/picture.html", context)


def _seconds(ms: int | None) -> str:
    return "" if ms is None else _("%(n)s s") % {"n": localize(round(ms / 1000, 1))}


@require_POST
@member_page
def delete_picture(request: StudioRequest, caller: Caller, generation: UUID) -> HttpResponseBase:
    """Remove a generation with its files for good; the page has asked before."""
    if not caller.may(Scope.IMAGES_WRITE):
        return render(request, "403.html", status=403)
    try:
        remove_generation(generation)
    except GenerationNotFound:
        raise Http404 from None
    except NotFinished:
        messages.error(request, _("It is still being drawn. Cancel it first."))
        return redirect("picture", generation=generation)
    messages.success(request, _("Deleted for good."))
    return redirect("gallery")
