"""A golden case as it is drawn now: what its model's entry makes of it, and what it starts from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from accounts.domain.limits import PlanLimits
from accounts.errors import StudioError
from generation.domain.catalog import spec_of
from generation.domain.request import GenerationRequest
from generation.domain.resolve import ResolvedRequest, resolve
from generation.domain.sources import Source
from generation.domain.tasks import NO_INPUTS, Input, Inputs
from generation.engine.region import Region
from generation.engine.request import MAX_SIDE, MAX_STEPS
from generation.enums import Task
from generation.models import GoldenCase
from generation.models.goldenstart import base_of
from generation.releases.compare.measures import draw_mask

PLAN = "golden-pictures"
LIMITS = PlanLimits(
    slug=PLAN,
    weight=1,
    gpu_ms_per_day=None,
    gpu_ms_per_month=None,
    images_per_day=None,
    images_per_month=None,
    tokens_per_day=None,
    concurrent_generations=100,  # one is asked for at a time; a worker that hangs must not stop the other lane
    queue_length=100,
    max_pixels=MAX_SIDE * MAX_SIDE,
    max_steps=MAX_STEPS,
    max_images=1,
    requests_per_minute=600,
    tenant_requests_per_minute=600,
    chat_requests_per_minute=1,
    concurrent_chats=1,
    cancels_per_day=None,
    storage_bytes=None,
    retention_days=None,
)
_LATER = Source()
"""In the place of a picture that is not drawn yet: what a request is judged by is only that there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a case starts from: the picture of another one, whose bytes come when it has been drawn (`starts.py`)."""

    base: Wanted
    region: Region | None = None
    picture: bytes = b""

    @property
    def inputs(self) -> Inputs:
        """Sizes alone, by which a request is resolved."""
        width, height = self.size
        one = Input(UUID(int=0), "", "", width, height)
        return Inputs((one,), one if self.region else None)

    @property
    def size(self) -> tuple[int, int]:
        """As wide and high as its case is drawn, in pixels."""
        return self.base.params["width"], self.base.params["height"]

    def fill(self, request: GenerationRequest) -> GenerationRequest:
        """The request with the picture, and the mask of its size, as everybody sends them."""
        width, height = self.size
        mask = Source(data=draw_mask(self.region, width=width, height=height)) if self.region else None
        return replace(request, image=(Source(data=self.picture),), mask=mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One case: the model's defaults are in `params`, which is all that its picture follows from, but for `start`'s."""

    slug: str
    position: int
    model: str
    tolerance: str
    request: GenerationRequest
    params: dict[str, Any]
    refused: str = ""
    """Why the model's entry does not allow it: then `params` are what staff wrote."""
    start: Start | None = None

    @property
    def params_sha256(self) -> str:
        """A reference counts only where this is the same."""
        text = json.dumps([self.model, self.request.prompt, self.params], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def input_sha256(self) -> str:
        """Of the picture that it starts from; empty where there is none."""
        return hashlib.sha256(self.start.picture).hexdigest() if self.start and self.start.picture else ""


def want(case: GoldenCase) -> Wanted:
    """What a case asks for, resolved against its model's entry."""
    request = GenerationRequest(
        model=case.model_id,
        prompt=case.prompt,
        negative_prompt=case.negative_prompt,
        width=case.width,
        height=case.height,
        num_inference_steps=case.steps,
        true_cfg_scale=case.true_cfg_scale,
        seed=case.seed,
    )
    names = ("negative_prompt", "width", "height", "steps", "seed")
    refused, params, start = "", {name: getattr(case, name) for name in names}, None
    try:
        start = _start_of(case)
        if start is not None:
            request = replace(request, image=(_LATER,), mask=_LATER if start.region else None, strength=case.strength)
        found = resolve(request, spec_of(case.model), LIMITS, inputs=start.inputs if start else NO_INPUTS)
        _check_task(case, found, start)
    except (StudioError, ValueError) as error:  # the entry or the other case was changed after it was written
        refused = str(error)[:200]
        params |= {} if case.task == Task.TEXT_TO_IMAGE else {"task": case.task}
    else:
        params = {name: getattr(found, name) for name in names}
        params["true_cfg_scale"] = found.true_cfg_scale if found.guided else 1.0
        params |= _params_of(found, start) if start else {}
    return Wanted(
        slug=case.slug,
        position=case.position,
        model=case.model_id,
        tolerance=case.tolerance,
        request=request,
        params=params,
        refused=refused,
        start=start,
    )


def _start_of(case: GoldenCase) -> Start | None:
    """Raises ValueError where it cannot start from what it names."""
    if case.task == Task.TEXT_TO_IMAGE:
        return None
    base = base_of(case)
    if base is None or base.task != Task.TEXT_TO_IMAGE:
        raise ValueError("there is no case that it starts from" if base is None else f"{base.slug} starts from another")
    wanted = want(base)
    if wanted.refused:
        raise ValueError(f"{base.slug}, from which it starts: {wanted.refused}")
    return Start(base=wanted, region=Region.parse(case.mask) if case.task == Task.INPAINT else None)


def _check_task(case: GoldenCase, found: ResolvedRequest, start: Start | None) -> None:
    """Raises ValueError where the model would do something else than the case says."""
    if found.task != case.task:
        raise ValueError(f"{case.model_id} would do {found.task} with it, and not {case.task}")
    if start is not None and start.region is not None and (found.width, found.height) != start.size:
        raise ValueError(f"{case.model_id} would resize the picture that it starts from, so nothing could be kept")


def _params_of(found: ResolvedRequest, start: Start) -> dict[str, Any]:
    """What else a picture follows from that starts from one. Nothing for text to image: its references stay good."""
    return {
        "task": found.task,
        **({"strength": found.params["strength"]} if "strength" in found.params else {}),
        **({"mask": str(start.region)} if start.region else {}),
        "starts_from": start.base.slug,
        "starts_from_sha256": start.base.params_sha256,
    }
