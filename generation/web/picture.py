"""The page of one generation: its pictures with all parameters, the same again, another seed, its end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_datetime
from django.utils.formats import localize
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.domain.callers import Caller
from accounts.domain.codes import say_code, say_error
from accounts.domain.roles import Right
from accounts.domain.usage import name_members
from accounts.enums import Scope
from accounts.errors import StudioError
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.domain.catalog import tasks_of, visible_models
from generation.domain.gallery import asker_of, get_generation
from generation.domain.remove import remove_generation
from generation.domain.retention import kept_until
from generation.domain.retry import retry_generation
from generation.domain.tasks import takes_pictures
from generation.enums import FINAL, Task
from generation.errors import GenerationNotFound, NotFinished


@never_cache
@require_safe
@member_page
def picture(request: StudioRequest, caller: Caller, generation: UUID) -> HttpResponseBase:
    """One generation with all its parameters."""
    try:
        found = get_generation(generation)
    except GenerationNotFound:
        raise Http404 from None
    created, ended = (parse_datetime(found[name] or "") for name in ("created_at", "finished_at"))
    context = {
        "generation": found,
        "over": found["status"] in FINAL,
        "why": say_code(found["error"]["code"], found["error"]["message"]) if found["error"] else "",
        "created": created,
        "asker": _asker(generation, caller),
        "kept_until": kept_until(ended, days=caller.plan.retention_days),
        "seconds": say_seconds(found["timings"]["run_ms"]),
        "task": "" if found["task"] == Task.TEXT_TO_IMAGE else Task(found["task"]).label,
        "may_write": caller.may(Scope.IMAGES_WRITE),
        "may_start": any(takes_pictures(tasks_of(model)) for model in visible_models(caller)),
    }
    return render(request, "generation/picture.html", context)


@require_POST
@member_page
def draw_again(request: StudioRequest, caller: Caller, generation: UUID) -> HttpResponseBase:
    """The very same request once more; the studio shows how it goes."""
    return _submit_again(request, caller, generation, vary=False)


@require_POST
@member_page
def vary(request: StudioRequest, caller: Caller, generation: UUID) -> HttpResponseBase:
    """The same request with another seed."""
    return _submit_again(request, caller, generation, vary=True)


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


def say_seconds(ms: int | None) -> str:
    """A duration for people, "" where there is none."""
    return "" if ms is None else _("%(n)s s") % {"n": localize(round(ms / 1000, 1))}


def _submit_again(request: StudioRequest, caller: Caller, generation: UUID, *, vary: bool) -> HttpResponseBase:
    if not caller.may(Scope.IMAGES_WRITE):
        return render(request, "403.html", status=403)
    try:
        retry_generation(generation, caller, vary=vary)
    except GenerationNotFound:
        raise Http404 from None
    except StudioError as error:  # a limit, a model that is gone
        messages.error(request, capfirst(say_error(error)))
        return redirect("picture", generation=generation)
    return redirect("studio")


def _asker(generation: UUID, caller: Caller) -> str | Any:
    """Who asked for it, where the caller may know."""
    user = asker_of(generation)
    if user is None or not (user == caller.user or caller.has(Right.SEE_MEMBERS)):
        return ""
    return name_members([user]).get(user, "")
