"""The studio page: the form, and what is being drawn."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.api.problems import problem_response
from accounts.domain.callers import Caller
from accounts.domain.left import usage_left
from accounts.domain.roles import Right
from accounts.enums import Scope
from accounts.errors import NotSignedIn
from accounts.ids import read_id
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.domain.catalog import find_model, spec_of, visible_models
from generation.domain.gallery import find_image, get_generation
from generation.domain.grid import MAX_SCALES
from generation.domain.inputguard import MAX_BYTES
from generation.domain.loras import visible_loras
from generation.domain.styles import list_styles
from generation.domain.tasks import takes_pictures
from generation.engine.request import MAX_PROMPT_CHARS
from generation.errors import GenerationNotFound, ModelNotFound
from generation.models import Lora, Model, Style
from generation.web.builtin import in_page_language
from generation.web.recent import queue_notices, recent_work
from generation.web.words import is_demo, known_words, name_unknown, samples

DRAFT_FIELDS = (
    "model",
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "num_inference_steps",
    "true_cfg_scale",
    "n",
    "loras",
    "style",
    "inputs",
    "mask",
    "strength",
)


@require_safe
def home(request: HttpRequest) -> HttpResponseBase:
    """The studio for those who are signed in; the studio's own view leads everybody else to the sign-in page."""
    return redirect("studio" if getattr(request, "person", None) is not None else "sign-in")


@never_cache
@require_safe
@member_page
def studio(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """The page; `?again=<id>` opens it with the settings of an earlier generation.

    `&image=<index>` takes the seed of one of its images too, and asks for that one alone. `?start=<image>` puts one of
    the tenant's images there to start from.
    """
    models = [_choice(model, caller) for model in visible_models(caller)]
    loras = [_lora_choice(lora) for lora in visible_loras(caller) if set(lora.fits) & {one["slug"] for one in models}]
    context = {
        "models": models,
        "loras": loras,
        "styles": [_style_choice(row) for row in list_styles()],
        "may_manage_styles": caller.has(Right.MANAGE_STYLES),
        "most_scales": MAX_SCALES,
        "may_draw": caller.may(Scope.IMAGES_WRITE),
        "prompt_limit": MAX_PROMPT_CHARS,
        "samples": samples() if any(model["demo"] for model in models) else [],
        "takes_pictures": any(takes_pictures(model["tasks"]) for model in models),
        "max_picture": MAX_BYTES,
        "draft": _draft(request),
        "start": _start(request),
        "snapshot": _snapshot(caller),
    }
    return render(request, "generation/studio.html", context)


@never_cache
@require_safe
def studio_state(request: StudioRequest) -> HttpResponseBase:
    """The truth for a page whose stream was away; being asked also renews the browser's pass to the stream."""
    if request.caller is None:
        return problem_response(NotSignedIn("sign in again"), path=request.path)
    return JsonResponse(_snapshot(request.caller))


@require_POST
@member_page
def studio_words(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """A fragment that names the words of a prompt which the demo model does not know; empty for other models.

    A POST, so that what people type stands in no address and no log.
    """
    prompt = request.POST.get("prompt", "")
    unknown: list[str] = []
    rest = 0
    try:
        slug = request.POST.get("model", "")
        if is_demo(spec_of(find_model(slug, caller))):
            learnt = {word for lora in visible_loras(caller) if slug in lora.fits for word in _words(lora)}
            unknown, rest = name_unknown(prompt, learnt=learnt)
    except ModelNotFound:
        pass  # staff took it away while the page was open; sending says so
    context = {"unknown": unknown, "rest": rest, "known": known_words() if unknown else []}
    return render(request, "generation/unknown.html", context)


def _choice(model: Model, caller: Caller) -> dict[str, Any]:
    """What the form needs to know of a model, with the plan's limits applied."""
    spec = spec_of(model)
    plan = caller.plan
    sizes = [size for size in spec.sizes if size[0] * size[1] <= plan.max_pixels]
    return {
        "slug": model.slug,
        "title": in_page_language(model.title),
        "description": in_page_language(spec.description),
        "demo": is_demo(spec),
        "tasks": list(spec.tasks),
        "sizes": sizes or [(spec.default_width, spec.default_height)],
        "default_width": spec.default_width,
        "default_height": spec.default_height,
        "max_width": spec.max_width,
        "max_height": spec.max_height,
        "max_pixels": plan.max_pixels,
        "size_multiple": spec.size_multiple,
        "min_steps": spec.min_steps,
        "max_steps": min(spec.max_steps, plan.max_steps),
        "default_steps": min(spec.default_steps, plan.max_steps),
        "true_cfg_scale": spec.true_cfg_scale,
        "max_images": min(10, plan.max_images),
        "max_loras": spec.max_loras,
    }


def _lora_choice(lora: Lora) -> dict[str, Any]:
    """What the form needs to know of a LoRA."""
    return {
        "slug": lora.slug,
        "title": in_page_language(lora.title),
        "description": in_page_language(lora.description),
        "words": _words(lora),
        "models": " ".join(lora.fits),
        "default": f"{lora.default_scale:g}",
        "min": f"{lora.min_scale:g}",
        "max": f"{lora.max_scale:g}",
    }


def _style_choice(style: Style) -> dict[str, str]:
    """What the form needs to know of a style: its words, to find those of a person again in a prompt that has both."""
    return {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}


def _words(lora: Lora) -> list[str]:
    return [word.strip() for word in lora.trigger_words.split(",") if word.strip()]


def _draft(request: StudioRequest) -> dict[str, Any] | None:
    again = request.GET.get("again")
    if not again:
        return None
    try:
        found = get_generation(read_id(again))
    except GenerationNotFound:
        raise Http404 from None  # another tenant's too: as the page of a picture answers it
    draft = {name: found[name] for name in DRAFT_FIELDS}
    image = request.GET.get("image", "")
    if not (image.isascii() and image.isdigit() and len(image) <= 2 and int(image) < found["n"]):
        return draft
    return draft | {"seed": found["seed"] + int(image), "n": 1}


def _start(request: StudioRequest) -> dict[str, Any] | None:
    """The image to start from, as the script takes it."""
    given = request.GET.get("start")
    if not given:
        return None
    row = find_image(read_id(given))
    if row is None:
        raise Http404
    url = f"{settings.STUDIO_URL}/files/{row['id']}"
    return {"id": str(row["id"]), "url": url, "width": row["width"], "height": row["height"]}


def _snapshot(caller: Caller) -> dict[str, Any]:
    return {
        "generations": recent_work(caller),
        "limits": [asdict(limit) for limit in usage_left(caller)],
        "notices": queue_notices(),
    }
