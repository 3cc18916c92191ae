"""Asking for the same once more, or for the same with another seed."""

from __future__ import annotations

from uuid import UUID

from accounts.domain.callers import Caller
from generation.domain.request import GenerationRequest, LoraChoice
from generation.domain.sources import Source
from generation.domain.submit import Submitted, submit_generation
from generation.enums import FINAL
from generation.errors import GenerationNotFound, NotFinished
from generation.models import Generation


def retry_generation(id: UUID, caller: Caller, *, vary: bool = False) -> Submitted:
    """Submit an ended generation's request again, seed and all, as one of its own that names the first.

    With `vary` the seed is another one: the same words and settings, another picture.

    Raises `GenerationNotFound`, `NotFinished`, and what a submit can raise: limits and models may have changed.
    """
    row = Generation.objects.filter(pk=id).first()
    if row is None:
        raise GenerationNotFound
    if row.status not in FINAL:
        raise NotFinished("this generation has not ended yet: cancel it first, or wait for it")
    request = GenerationRequest(
        model=row.model_id,
        prompt=row.prompt,
        negative_prompt=row.negative_prompt,
        width=row.width,
        height=row.height,
        num_inference_steps=row.steps,
        true_cfg_scale=row.params.get("true_cfg_scale"),
        seed=None if vary else row.seed,
        n=row.n,
        loras=tuple(LoraChoice(name=use["name"], scale=use["scale"]) for use in row.params.get("loras", [])),
        output_format=row.params.get("output_format", "png"),
        output_compression=row.params.get("output_compression"),
        metadata=row.params.get("metadata", {}),
        image=tuple(Source(id=UUID(one["id"])) for one in row.params.get("images", [])),
        mask=Source(id=UUID(row.params["mask"]["id"])) if row.params.get("mask") else None,
        strength=row.params.get("strength"),
        styled=row.params.get("style", ""),  # its words are the row's, whatever the style says today
    )
    return submit_generation(caller=caller, request=request, retry_of=row.retry_of or row.pk)
