"""From a request to its row: the model's defaults, the plan's limits, and what may share a pass with it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accounts.domain.limits import PlanLimits
from generation.domain.request import GenerationRequest, LoraChoice, raise_for
from generation.domain.tasks import DEFAULT_STRENGTH, NO_INPUTS, Inputs, fit_size, task_of
from generation.engine.catalog import ModelSpec
from generation.engine.request import MAX_SEED
from generation.engine.tasksteps import steps_run
from generation.enums import Task
from generation.errors import WebhookNotFound

RANDOM_SEEDS = 2**32  # every JavaScript client holds these exactly
_BYTES_PER_TOKEN = 3  # of a byte-level BPE, about: only sorts prompts into likely buckets, the worker counts


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedLora:
    """What a request may ask of a LoRA that its tenant may use. `fits`: slugs of the models that it was made for."""

    name: str
    sha256: str
    fits: tuple[str, ...]
    default_scale: float
    min_scale: float
    max_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest:
    """A request with everything decided: the columns of its row."""

    model: str
    pool: str
    task: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    seed: int
    n: int
    true_cfg_scale: float
    guided: bool  # true CFG runs the transformer twice
    params: dict[str, Any]
    batch_key: str

    @property
    def steps_run(self) -> int:
        """How many of its steps it runs: with `strength` it begins in the middle."""
        return steps_run(self.steps, self.params.get("strength", 1.0))


def resolve(
    request: GenerationRequest,
    spec: ModelSpec,
    plan: PlanLimits,
    *,
    offered: Mapping[str, OfferedLora] | None = None,
    inputs: Inputs = NO_INPUTS,
) -> ResolvedRequest:
    """Fill in the model's defaults and hold the request to the model's and the plan's limits.

    `offered`: by name, the LoRAs of the request that its tenant may use; `inputs`: its pictures, as they were read.

    Raises `InvalidRequest` naming field and bound, `TaskNotOffered`, and `WebhookNotFound`.
    """
    task = task_of(spec, images=len(request.image), mask=request.mask is not None, strength=request.strength)
    width, height = fit_size(request.width, request.height, spec=spec, inputs=inputs, max_pixels=plan.max_pixels)
    steps = spec.default_steps if request.num_inference_steps is None else request.num_inference_steps
    scale = spec.true_cfg_scale if request.true_cfg_scale is None else request.true_cfg_scale
    errors: dict[str, list[str]] = {}
    for name, value, most in (("width", width, spec.max_width), ("height", height, spec.max_height)):
        if value % spec.size_multiple:
            errors[name] = [f"must be a multiple of {spec.size_multiple} for this model, got {value}"]
        elif value > most:
            errors[name] = [f"too large for this model, max {most}, got {value}"]
    if not errors and width * height > plan.max_pixels:
        errors["width"] = [f"{width} × {height} is over your limit of {plan.max_pixels} pixels, choose a smaller size"]
    if not spec.min_steps <= steps <= spec.max_steps:
        bounds = f"must be {spec.min_steps} to {spec.max_steps} for this model"
        errors["num_inference_steps"] = [f"{bounds}, got {steps}"]
    elif steps > plan.max_steps:
        errors["num_inference_steps"] = [f"over your limit of {plan.max_steps} steps, got {steps}"]
    if request.n > plan.max_images:
        errors["n"] = [f"over your limit of {plan.max_images} images per request, got {request.n}"]
    if complaints := _check_loras(request.loras, offered or {}, spec):
        errors["loras"] = complaints
    if request.seed is not None and request.seed > MAX_SEED - (request.n - 1):
        errors["seed"] = [f"too large for {request.n} images, max {MAX_SEED - request.n + 1}"]
    raise_for(errors)
    if request.webhook is not None:
        raise WebhookNotFound

    loras = [
        {
            "name": lora.name,
            "scale": lora.default_scale if choice.scale is None else choice.scale,
            "sha256": lora.sha256,
        }
        for choice in request.loras
        for lora in [(offered or {})[choice.name]]
    ]
    negative = request.negative_prompt or spec.default_negative_prompt
    guided = scale > 1 and negative != ""
    started: dict[str, Any] = {}
    if task in (Task.IMAGE_TO_IMAGE, Task.INPAINT):
        started["strength"] = DEFAULT_STRENGTH if request.strength is None else request.strength
    return ResolvedRequest(
        model=spec.slug,
        pool=spec.pool,
        task=task.value,
        prompt=request.prompt,
        negative_prompt=negative,
        width=width,
        height=height,
        steps=steps,
        seed=secrets.randbelow(RANDOM_SEEDS) if request.seed is None else request.seed,
        n=request.n,
        true_cfg_scale=scale,
        guided=guided,
        params={
            "true_cfg_scale": scale,
            "guided": guided,
            "loras": loras,
            "output_format": request.output_format,
            **({} if request.output_compression is None else {"output_compression": request.output_compression}),
            "metadata": dict(request.metadata),
            **started,
            **({"style": request.styled} if request.styled else {}),
        },
        batch_key=_make_batch_key(
            model=spec.slug,
            task=task.value,
            size=[width, height],
            steps=steps,
            guidance=scale if guided else None,
            loras=sorted(str(lora["sha256"]) for lora in loras),  # strengths may differ in one pass
            buckets=[
                guess_bucket(request.prompt, spec),
                guess_bucket(negative, spec) if guided else None,
            ],
            # Left out of text to image, whose keys stay those of the release before: rows of both share passes.
            # Strengths may differ in one pass as well, where as many steps run.
            **({"runs": steps_run(steps, started["strength"])} if started else {}),
            **({"inputs": [[one.width, one.height] for one in inputs.images]} if task is Task.EDIT else {}),
        ),
    )


def _check_loras(choices: tuple[LoraChoice, ...], offered: Mapping[str, OfferedLora], spec: ModelSpec) -> list[str]:
    """What is wrong with the LoRAs of a request. One of another tenant is answered like one that does not exist."""
    if len(choices) > spec.max_loras:
        return [f"has {len(choices)} entries, this model takes {spec.max_loras}"]
    complaints = []
    for choice in choices:
        lora = offered.get(choice.name)
        if lora is None:
            complaints.append(f"no LoRA named {choice.name[:60]!r}; GET /api/v1/loras lists yours")
        elif spec.slug not in lora.fits:
            fits = f"it fits {', '.join(lora.fits)}" if lora.fits else "it fits no model that is on offer"
            complaints.append(f"{lora.name!r} was made for another model: {fits}")
        elif choice.scale is not None and not lora.min_scale <= choice.scale <= lora.max_scale:
            bounds = f"{lora.min_scale:g} to {lora.max_scale:g}"
            complaints.append(f"scale of {lora.name!r} must be {bounds}, got {choice.scale:g}")
    return complaints


def guess_bucket(prompt: str, spec: ModelSpec) -> int:
    """The text-length bucket that a prompt likely falls into. The web has no tokenizer; the worker knows better."""
    tokens = min(spec.max_prompt_tokens, guess_tokens(prompt))
    return next((rung for rung in spec.length_buckets if tokens <= rung), tokens)


def guess_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return max(1, -(-len(text.encode()) // _BYTES_PER_TOKEN))


def _make_batch_key(**parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
