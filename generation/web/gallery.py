"""The gallery: everything the tenant has drawn, searched, filtered and selected."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.domain.callers import Caller
from accounts.domain.roles import Right
from accounts.domain.stored import format_bytes
from accounts.enums import Scope
from accounts.errors import StudioError
from accounts.models import Membership
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.domain.catalog import spec_of, visible_models
from generation.domain.history import list_generations, list_ids
from generation.domain.selections import MAX_IDS, MOST_UNDER_WAY, UNDER_WAY, list_selections, zip_url
from generation.engine.errors import CatalogError
from generation.enums import Act, Status
from generation.models import Selection
from generation.web.builtin import in_page_language
from generation.web.wishes import Wishes, read_wishes

PER_PAGE = 36
OFFERED = 200  # members in a filter


@never_cache
@vary_on_headers("HX-Request")
@require_safe
@member_page
def gallery(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """The wall of pictures; htmx asks for the next piece of it, or for the whole wall of another search."""
    cursor = request.GET.get("cursor") or None
    try:
        wishes = read_wishes(request, caller)
        page = list_generations(wishes.filters, cursor=cursor, limit=PER_PAGE)
    except StudioError:
        raise Http404 from None  # a cursor that is none of ours, or a member who is not theirs to see
    part = _part_of(request)
    context = {
        "generations": page.results,
        "more": wishes.query(cursor=page.next) if page.next else "",
        "newer": wishes.query(cursor=page.previous) if page.previous else "",
        "wishes": wishes,
        "first": cursor is None,
        "may_write": caller.may(Scope.IMAGES_WRITE),
        "most": MAX_IDS,
    }
    if part == "generation/gallery.html":
        context |= {**_choices(caller), **_work(caller), "kept_days": caller.plan.retention_days}
    return render(request, part, context)


@never_cache
@require_safe
@member_page
def gallery_ids(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """The ids of everything that the filters find, for who selects all of it; the newest, where there are too many."""
    try:
        wishes: Wishes = read_wishes(request, caller)
    except StudioError:
        raise Http404 from None
    found = list_ids(wishes.filters, most=MAX_IDS + 1)
    return JsonResponse({"ids": found[:MAX_IDS], "more": len(found) > MAX_IDS})


@never_cache
@require_safe
@member_page
def gallery_work(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """A fragment: how far one's zips and deletions are. It asks for itself again while something is under way."""
    return render(request, "generation/selections.html", _work(caller))


def _part_of(request: HttpRequest) -> str:
    """The template that answers: a page, the wall of another search, or the next piece of the wall."""
    if "HX-Request" not in request.headers or "HX-History-Restore-Request" in request.headers:
        return "generation/gallery.html"
    return "generation/wall.html" if request.headers.get("HX-Target") == "wall" else "generation/shots.html"


def _choices(caller: Caller) -> dict[str, Any]:
    """What the filters offer."""
    models = list(visible_models(caller))
    sizes: set[tuple[int, int]] = set()
    for model in models:
        with suppress(CatalogError):  # an entry that staff broke is no reason to see nothing
            sizes |= set(spec_of(model).sizes)
    members: list[tuple[str, str]] = []
    if caller.has(Right.SEE_MEMBERS):
        rows = Membership.objects.filter(tenant_id=caller.tenant).select_related("user").order_by("user__name", "id")
        members = [(str(row.user_id), row.user.get_short_name()) for row in rows[:OFFERED]]
    return {
        "statuses": Status.choices,
        "models": [(model.slug, in_page_language(model.title)) for model in models],
        "sizes": [f"{width}x{height}" for width, height in sorted(sizes)],
        "members": members,
        "me": str(caller.user),
    }


def _work(caller: Caller) -> dict[str, Any]:
    """One's zips that are there or under way, and what is being deleted: two statements."""
    zips = list_selections(by=caller, act=Act.ZIP, cursor=None, limit=MOST_UNDER_WAY).results
    deletions: list[Selection] = []
    if caller.has(Right.MAKE_IMAGES):
        deletions = list_selections(by=caller, act=Act.DELETE, cursor=None, limit=MOST_UNDER_WAY).results
    return {
        "zips": [_zip(row) for row in zips if row.status not in ("expired", "done")],
        "deletions": [row for row in deletions if row.status in UNDER_WAY],
        "runs": any(row.status in UNDER_WAY for row in (*zips, *deletions)),
    }


def _zip(row: Selection) -> dict[str, Any]:
    return {
        "row": row,
        "url": zip_url(row) and f"/files/zips/{row.pk}",
        "size": format_bytes(row.bytes),
        "runs": row.status in UNDER_WAY,
    }
