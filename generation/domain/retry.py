"""Asking for the same once more."""

from __future__ import annotations

from uuid import UUID

from accounts.domain.callers import Caller
from generation.domain.request import GenerationRequest, LoraChoice
from generation.domain.submit import Submitted, submit_generation
from generation.enums import FINAL
from generation.errors import GenerationNotFound, NotFinished
from generation.models import Generation


def retry_generation(id: UUID, caller: Caller) -> Submitted:
    """Submit an ended generation's request again, seed and all, as one of its own that names the first.

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
        seed=row.seed,
        n=row.n,
        loras=tuple(LoraChoice(name=use["name"], scale=use["scale"]) for use in row.params.get("loras", [])),
        output_format=row.params.get("output_format", "png"),
        output_compression=row.params.get("output_compression"),
        metadata=row.params.get("metadata", {}),
    )
    return submit_generation(caller=caller, request=request, retry_of=row.retry_of or row.pk)
