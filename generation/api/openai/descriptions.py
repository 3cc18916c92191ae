"""What the OpenAPI description says about OpenAI's routes beyond their shapes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from accounts.api.described.common import BODY, REFUSALS, RETRY_AFTER, answer_header, header, openai_refusals
from generation.api.inputdescriptions import RED
from generation.api.openai import shapes

WAITED = {503: "Not done within 300 seconds: cancelled and not charged. Or the database does not answer."}
HOUSE = {"model": "demo", "prompt": "a white house on the left of a meadow at night", "response_format": "b64_json"}
EVENTS = (
    "With `stream`: server-sent events `image_generation.partial_image` (as many of `partial_images` as came in time) "
    "and for each picture `image_generation.completed`. What goes wrong after the first byte is an event `error`."
)
KEY = header(
    "Idempotency-Key", OpenApiTypes.STR, "Up to 255 characters. Repeated within 24 hours, it makes nothing new."
)
HEADERS = [
    RETRY_AFTER,
    answer_header("x-should-retry", "`false` where a client should not try again by itself.", [409, 429, 503]),
]

GENERATE: dict[str, Any] = {
    "operation_id": "openai_generate_images",
    "summary": "Make images, as OpenAI's API does",
    "description": "Waits for the pictures, at most 300 seconds. A client that leaves cancels nothing.",
    "parameters": [KEY, *HEADERS],
    "request": shapes.OpenAIImageRequest,
    "examples": [OpenApiExample("A house", HOUSE, request_only=True)],
    "responses": {
        (200, "application/json"): OpenApiResponse(shapes.OpenAIImages, description="The pictures."),
        (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description=EVENTS),
        202: OpenApiResponse(shapes.OpenAIAccepted, description="Stored; where nobody is there to wait."),
        **openai_refusals(*BODY, 404, 409, 422, 500, words=REFUSALS | WAITED),
    },
}
EDIT: dict[str, Any] = {
    "operation_id": "openai_edit_images",
    "summary": "Edit images, as OpenAI's API does",
    "description": (
        "With a mask the model's `inpaint`, otherwise `edit` or `image-to-image`, whichever it has. Without `size` the "
        "picture is as large as the first image, within the model's limits. Waits for them, at most 300 seconds."
    ),
    "parameters": [KEY, *HEADERS],
    "request": {"multipart/form-data": shapes.OpenAIEditForm, "application/json": shapes.OpenAIEditRequest},
    "examples": [OpenApiExample("From a picture", {"prompt": "a red house", "image": RED}, request_only=True)],
    "responses": {
        (200, "application/json"): OpenApiResponse(shapes.OpenAIImages, description="The pictures."),
        (200, "text/event-stream"): OpenApiResponse(
            OpenApiTypes.STR, description=EVENTS.replace("image_generation", "image_edit")
        ),
        202: OpenApiResponse(shapes.OpenAIAccepted, description="Stored; where nobody is there to wait."),
        **openai_refusals(*BODY, 404, 409, 422, 500, words=REFUSALS | WAITED),
    },
}
MODELS: dict[str, Any] = {
    "operation_id": "openai_list_models",
    "summary": "List models, as OpenAI's API does",
    "parameters": [RETRY_AFTER],
    "responses": {200: shapes.OpenAIModels, **openai_refusals()},
}
MODEL: dict[str, Any] = {
    "operation_id": "openai_get_model",
    "summary": "Look at a model, as OpenAI's API does",
    "parameters": [RETRY_AFTER],
    "responses": {200: shapes.OpenAIModel, **openai_refusals(404)},
}
