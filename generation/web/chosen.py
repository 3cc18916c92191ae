"""What is done with pictures that were selected in the gallery: a zip, their end, two of them side by side.

With scripts the page asks the API instead; these forms work without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.domain.callers import Caller
from accounts.domain.codes import say_error
from accounts.domain.roles import Right
from accounts.errors import StudioError
from accounts.ids import read_id
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.domain.gallery import get_generation
from generation.domain.selections import check_ids, request_deletion, request_zip
from generation.enums import Task
from generation.errors import GenerationNotFound
from generation.web.picture import say_seconds


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a comparison."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Whether both sides say different things."""
        return self.left != self.right


@require_POST
@member_page
def zip_chosen(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """One file of all their pictures."""
    try:
        request_zip(by=caller, ids=check_ids([read_id(id) for id in request.POST.getlist("id")]))
    except GenerationNotFound:
        raise Http404 from None
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
    else:
        messages.success(request, _("The zip is being made. It can be fetched here, for a day."))
    return redirect("gallery")


@require_POST
@member_page
def delete_chosen(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """All of them, for good: asked first."""
    if not caller.has(Right.MAKE_IMAGES):
        return render(request, "403.html", status=403)
    ids = request.POST.getlist("id")
    if ids and request.POST.get("sure") != "1":
        return _ask(request, ids)
    try:
        asked = request_deletion(by=caller, ids=check_ids([read_id(id) for id in ids]))
    except GenerationNotFound:
        raise Http404 from None
    except StudioError as error:
        messages.error(request, capfirst(say_error(error)))
        return redirect("gallery")
    if asked.finished_at is None:
        messages.success(request, _("They are being deleted."))
    elif asked.left:
        messages.warning(request, _("What is still being drawn was left. Cancel it first."))
    else:
        messages.success(request, _("Deleted for good."))
    return redirect("gallery")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member_page
def compare(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """Two side by side; the form of the gallery leads here with what was selected."""
    if request.method == "POST":
        chosen = request.POST.getlist("id")
        if len(chosen) != 2:
            messages.error(request, _("Select two pictures to compare them."))
            return redirect("gallery")
        return redirect(f"{reverse('compare')}?{urlencode({'left': chosen[0], 'right': chosen[1]})}")
    try:
        left = _side(request.GET.get("left", ""), request.GET.get("i", ""))
        right = _side(request.GET.get("right", ""), request.GET.get("j", ""))
    except GenerationNotFound:
        raise Http404 from None
    address = {"left": left["generation"]["id"], "right": right["generation"]["id"], "i": left["at"], "j": right["at"]}
    left["links"], right["links"] = _links(left, address, "i"), _links(right, address, "j")
    context = {"sides": [(left, _("left")), (right, _("right"))], "facts": _facts(left, right)}
    return render(request, "generation/compare.html", context)


def _ask(request: StudioRequest, ids: list[str]) -> HttpResponseBase:
    """The question as a page of its own; nothing has happened yet."""
    n = len(ids)
    context = {
        "question": ngettext("Delete %(n)s request?", "Delete %(n)s requests?", n) % {"n": n},
        "text": _("The requests and their files are removed for good, for everybody in your organisation."),
        "yes": _("Delete"),
        "back": reverse("gallery"),
        "fields": [*(("id", id) for id in ids), ("sure", "1")],
    }
    return render(request, "ask.html", context)


def _side(generation: str, index: str) -> dict[str, Any]:
    """A generation, and which of its images is shown."""
    found = get_generation(read_id(generation))
    images = found["images"]
    at = int(index) if index.isascii() and index.isdigit() and len(index) <= 2 else 0
    at = at if at < len(images) else 0
    return {"generation": found, "image": images[at] if images else None, "at": at}


def _links(side: dict[str, Any], address: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """To each image of one side, the other side staying as it is."""
    return [
        {"href": f"?{urlencode({**address, name: at})}", "here": at == side["at"], "image": image}
        for at, image in enumerate(side["generation"]["images"])
    ]


def _facts(left: dict[str, Any], right: dict[str, Any]) -> list[Fact]:
    names = {
        "prompt": _("Prompt"),
        "model": _("Model"),
        "task": _("Task"),
        "strength": _("Strength"),
        "size": _("Size"),
        "steps": _("Steps"),
        "guidance": _("Guidance"),
        "negative_prompt": _("Leave out"),
        "seed": _("Seed"),
        "style": _("Style"),
        "loras": "LoRA",
        "seconds": _("Drawn in"),
        "created": _("Asked for"),
    }
    ours, theirs = _said(left), _said(right)
    found = [Fact(name, ours[key], theirs[key]) for key, name in names.items()]
    return [fact for fact in found if fact.left or fact.right]


def _said(side: dict[str, Any]) -> dict[str, str]:
    found, image = side["generation"], side["image"]
    size = image or found
    return {
        "prompt": found["prompt"],
        "model": found["model"],
        "task": str(Task(found["task"]).label),
        "strength": "" if found["strength"] is None else f"{found['strength']:g}",
        "size": f"{size['width']} × {size['height']}",
        "steps": str(found["num_inference_steps"]),
        "guidance": str(found["true_cfg_scale"]),
        "negative_prompt": found["negative_prompt"],
        "seed": str(image["seed"] if image else found["seed"]),
        "style": found["style"] or "",
        "loras": ", ".join(f"{use['name']} × {use['scale']}" for use in found["loras"]),
        "seconds": say_seconds(found["timings"]["run_ms"]),
        "created": f"{found['created_at'][:16].replace('T', ' ')} UTC",
    }
