"""The cost and waiting time of a request before it is sent."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings

from accounts.domain.callers import Caller
from accounts.domain.sql import fetch_one
from generation.domain.catalog import find_model, spec_of
from generation.domain.cost import estimate_image_ms
from generation.domain.inputs import prepare_inputs
from generation.domain.loras import offered_loras
from generation.domain.place import NEW_PLACE_SQL, read_place
from generation.domain.present import present_place
from generation.domain.request import GenerationRequest
from generation.domain.resolve import resolve
from generation.domain.styles import apply_style


def estimate(request: GenerationRequest, *, caller: Caller) -> dict[str, Any]:
    """{model, task, width, height, images, gpu_ms, image_ms, wait_ms, queue}: nothing is stored, reserved or charged.

    `wait_ms` is the time until it begins, None when nobody can say (`queue.reason` says why); `queue.eta_ms` the time
    until it is done. Raises what a submit of this request would raise for model and values.
    """
    spec = spec_of(find_model(request.model, caller))
    request = apply_style(request)
    inputs = prepare_inputs(request, spec, measure=True).inputs
    resolved = resolve(request, spec, caller.plan, offered=offered_loras(request.loras, caller), inputs=inputs)
    image_ms = estimate_image_ms(resolved, spec)
    gpu_ms = image_ms * resolved.n
    row = fetch_one(
        NEW_PLACE_SQL,
        lane=settings.STUDIO_LANE,
        pool=resolved.pool,
        model=resolved.model,
        tenant=caller.tenant,
        weight=caller.plan.weight,
        ms=gpu_ms,
        image_ms=image_ms,
        loras=json.dumps(resolved.params["loras"]),
    )
    if row is None:
        raise RuntimeError("the statement for a new place gives one row, always")
    place = read_place(row)
    return {
        "model": resolved.model,
        "task": resolved.task,
        "width": resolved.width,
        "height": resolved.height,
        "images": resolved.n,
        "image_ms": image_ms,
        "gpu_ms": gpu_ms,
        "wait_ms": None if place.eta_ms is None else max(0, place.eta_ms - gpu_ms),
        "queue": present_place(place),
    }
