"""A grid: the same pictures at several strengths of one LoRA, to compare them.

One generation for each strength, with as many seeds as it has images. So every image keeps its own parameters: its
generation's strength, its own seed; and each can be repeated, starred and removed as any other. They share passes all
the same, because a batch key holds the LoRAs' hashes and not their strengths.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.callers import Caller
from accounts.errors import InvalidRequest
from generation.domain.catalog import find_model, spec_of
from generation.domain.inputs import kept, name_inputs, prepare_inputs
from generation.domain.request import GenerationRequest, LoraChoice, hash_request, parse_request, raise_for, read_scale
from generation.domain.resolve import RANDOM_SEEDS
from generation.domain.styles import apply_style
from generation.domain.submit import announce, find_key, insert, make_generation, scope_of, take_key
from generation.domain.tasks import Inputs
from generation.engine.catalog import ModelSpec
from generation.models import Generation

MIN_SCALES, MAX_SCALES = 2, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRequest:
    """What is asked for: `request` at each of `scales` for its LoRA `lora`; its other LoRAs stay as they are."""

    request: GenerationRequest
    lora: str
    scales: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SubmittedGrid:
    """The generations in the order of the strengths."""

    ids: tuple[UUID, ...]
    replayed: bool


def parse_grid(data: Mapping[str, Any]) -> GridRequest:
    """A request for images with `lora` and `scales` beside. Raises `InvalidRequest` naming every wrong field."""
    if not isinstance(data, Mapping):
        raise InvalidRequest("the body must be a JSON object", field="body")
    rest = {name: value for name, value in data.items() if name not in ("lora", "scales")}
    errors: dict[str, list[str]] = {}
    lora = data.get("lora")
    if not isinstance(lora, str) or not lora:
        errors["lora"] = ["must name the LoRA whose strength varies"]
    scales = _read_scales(data.get("scales"), errors)
    try:
        request = parse_request(rest)
    except InvalidRequest as error:
        raise_for({**(error.fields or {}), **errors})
        raise
    raise_for(errors)
    if any(choice.name == lora for choice in request.loras):
        raise_for({"loras": [f"{lora!r} is the LoRA whose strength varies, name it in `lora` only"]})
    return GridRequest(request=request, lora=str(lora), scales=scales)


def _read_scales(value: object, errors: dict[str, list[str]]) -> tuple[float, ...]:
    if not isinstance(value, list) or not MIN_SCALES <= len(value) <= MAX_SCALES:
        errors["scales"] = [f"must be a list of {MIN_SCALES} to {MAX_SCALES} numbers"]
        return ()
    found = []
    for item in value:
        try:
            found.append(read_scale(item))
        except InvalidRequest as error:
            errors["scales"] = [str(error)]
            return ()
    if len(set(found)) < len(found):
        errors["scales"] = ["names the same strength twice"]
    return tuple(found)


def submit_grid(
    *,
    caller: Caller,
    grid: GridRequest,
    idempotency_key: str | None = None,
    body_sha256: str | None = None,
) -> SubmittedGrid:
    """Store all generations of a grid and reserve what they cost, or none of them.

    Raises what a submit of one raises.
    """
    whole = f"{hash_request(grid.request)} {grid.lora} {grid.scales}"
    body = body_sha256 or hashlib.sha256(whole.encode()).hexdigest()
    with scope_of(caller):
        if idempotency_key is not None and (earlier := find_key(caller, key=idempotency_key, body=body)):
            return SubmittedGrid(grid_of(earlier), replayed=True)
        spec = spec_of(find_model(grid.request.model, caller))
        prepared = prepare_inputs(grid.request, spec)
        rows = _make_rows(caller, grid, spec, prepared.inputs)
        with kept(prepared, caller) as inputs, transaction.atomic():
            if idempotency_key is not None:
                earlier = take_key(caller, rows[0].id, key=idempotency_key, body=body)
                if earlier is not None:
                    return SubmittedGrid(grid_of(earlier), replayed=True)
            for row in rows:
                name_inputs(row, inputs)
                insert(caller, row)
                transaction.on_commit(lambda row=row: announce(row), robust=True)  # type: ignore[misc]
    return SubmittedGrid(tuple(row.id for row in rows), replayed=False)


def grid_of(first: UUID) -> tuple[UUID, ...]:
    """The generations of the grid that the first one began, as far as they are still there, in their order."""
    born = Generation.objects.filter(pk=first).values_list("created_at", flat=True).first()
    if born is None:
        return ()
    # One transaction stored them, so the index of the history finds them.
    near = (born, born + timedelta(minutes=1))
    rows = Generation.objects.filter(created_at__range=near, params__grid=str(first)).order_by("id")
    return tuple(rows.values_list("id", flat=True))


def _make_rows(caller: Caller, grid: GridRequest, spec: ModelSpec, inputs: Inputs) -> Sequence[Generation]:
    request = apply_style(grid.request)
    if request.seed is None:  # the same noise at every strength
        request = replace(request, seed=secrets.randbelow(RANDOM_SEEDS))
    rows = []
    for scale in grid.scales:
        loras = (*request.loras, LoraChoice(name=grid.lora, scale=scale))
        wanted = replace(request, loras=loras)
        rows.append(make_generation(caller=caller, request=wanted, spec=spec, inputs=inputs))
    for row in rows:
        row.params["grid"] = str(rows[0].id)
    return rows
