"""/v1/images/generations and /v1/images/edits, as far as Django goes: ask for the pictures.

The async door (`qwenstudio/door/pictures.py`) asks these views for every client, and waits. Where it is not in front,
the answer is what it is told: 202 with the generation's id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.openai.views import OpenAIView
from accounts.api.views import read_object
from accounts.enums import Scope
from generation.api.base import read_idempotency_key
from generation.api.forms import PARSERS, read_request
from generation.api.openai import descriptions as describe
from generation.api.openai.fields import NO_MODEL, AnswerForm, read_edit, read_generation
from generation.domain.catalog import first_model
from generation.domain.gallery import get_generation
from generation.domain.giveup import forget_key
from generation.domain.request import GenerationRequest
from generation.domain.submit import Submitted, submit_generation
from generation.domain.tasks import tasks_to_edit
from generation.enums import FINAL, Status, Task
from generation.errors import StillRunning

WRITE = Scope.IMAGES_WRITE.value
MOST_RETRY_S = 30


class GenerationsView(OpenAIView):
    """Text to image."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": WRITE}

    @extend_schema(**describe.GENERATE)
    def post(self, request: Request) -> Response:
        """Ask for pictures; the door waits for them."""
        wanted, form = read_generation(read_object(request))
        if wanted.model == NO_MODEL:
            wanted = replace(wanted, model=first_model(self.caller, Task.TEXT_TO_IMAGE).slug)
        submitted = self._submit(request, wanted)
        return answer_accepted(submitted, form)

    def _submit(self, request: Request, wanted: GenerationRequest) -> Submitted:
        key, body = read_idempotency_key(request), getattr(request, "body_sha256", None)
        submitted = submit_generation(caller=self.caller, request=wanted, idempotency_key=key, body_sha256=body)
        if not submitted.replayed:
            return submitted
        earlier = get_generation(submitted.id)
        if earlier["status"] == Status.CANCELED:  # answered with 409 then, which is never an answer to repeat
            forget_key(submitted.id)
            return submit_generation(caller=self.caller, request=wanted, idempotency_key=key, body_sha256=body)
        if earlier["status"] not in FINAL:
            eta_ms = (earlier["queue"] or {}).get("eta_ms") or 1000
            raise StillRunning(
                "the first request with this Idempotency-Key is still being drawn, send it again then",
                retry_after_s=max(1, min(MOST_RETRY_S, round(eta_ms / 1000))),
            )
        return submitted


class EditsView(GenerationsView):
    """Pictures that start from pictures: edit by instruction, inpaint where there is a mask, or image to image."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": WRITE}
    parser_classes = PARSERS
    max_body_bytes = settings.PICTURE_BODY_BYTES

    @extend_schema(**describe.EDIT)
    def post(self, request: Request) -> Response:
        """Ask for pictures; the door waits for them."""
        wanted, form = read_edit(read_request(request))
        if wanted.model == NO_MODEL:
            tasks = tasks_to_edit(images=len(wanted.image), mask=wanted.mask is not None)
            wanted = replace(wanted, model=first_model(self.caller, *tasks).slug)
        return answer_accepted(self._submit(request, wanted), form)


def answer_accepted(submitted: Submitted, form: AnswerForm) -> Response:
    """What the door needs to know: which generation, and how its answer shall be."""
    headers = {"Location": f"{settings.STUDIO_URL}/api/v1/images/{submitted.id}"}
    if submitted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response({"id": str(submitted.id), "answer": form.to_json()}, status=202, headers=headers)
