"""What the OpenAPI description says about each operation beyond its shapes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, answer_header, header, refusals
from generation.api import shapes
from generation.enums import Status

HOUSE = {
    "model": "demo",
    "prompt": "a white house on the left of a meadow at night",
    "seed": 7,
}
LOCATION = answer_header("Location", "The address of the generation.", [202])
LAST_EVENT_ID = header("Last-Event-ID", OpenApiTypes.STR, "The last event seen; the stream goes on after it.")

LIST: dict[str, Any] = {
    "operation_id": "list_images",
    "summary": "List generations",
    "parameters": [
        OpenApiParameter(
            "q",
            OpenApiTypes.STR,
            description="Pieces of the prompt, between blanks: all must be in it, in any order; at most 200 signs.",
        ),
        OpenApiParameter("status", OpenApiTypes.STR, enum=Status.values),
        OpenApiParameter("model", OpenApiTypes.STR),
        OpenApiParameter("starred", OpenApiTypes.BOOL),
        OpenApiParameter("created_after", OpenApiTypes.DATETIME),
        OpenApiParameter("created_before", OpenApiTypes.DATETIME),
        OpenApiParameter("size", OpenApiTypes.STR, description="Width x height, such as `1024x768`."),
        OpenApiParameter("seed", OpenApiTypes.INT, description="Of any of a generation's images."),
        OpenApiParameter(
            "member",
            OpenApiTypes.STR,
            description="Who asked: one's own id, or any member's for who may see them (role and scope `admin`).",
        ),
        *PAGE,
        RETRY_AFTER,
    ],
    "responses": {200: shapes.GenerationPage, **refusals(400, 404)},
}
SUBMIT: dict[str, Any] = {
    "operation_id": "create_image",
    "summary": "Ask for images",
    "description": (
        "Answers 202 as soon as the request is stored, with the waiting time. With `Prefer: wait=N` the answer waits "
        "up to N seconds and is 200 with the finished generation, or 202 when the time is up."
    ),
    "parameters": [
        header(
            "Idempotency-Key", OpenApiTypes.STR, "Up to 255 characters. Repeated within 24 hours, it makes nothing new."
        ),
        header(
            "Prefer",
            OpenApiTypes.STR,
            "`wait=N`, N from 1 to 60 seconds.",
            examples=[OpenApiExample("wait", "wait=30")],
        ),
        LOCATION,
        answer_header("Preference-Applied", "`wait=N` where the answer has waited.", [200]),
        answer_header("Idempotency-Replayed", "`true` where an earlier request is answered again.", [202]),
        RETRY_AFTER,
    ],
    "request": {"application/json": shapes.GenerationRequest, "multipart/form-data": shapes.GenerationForm},
    "examples": [OpenApiExample("A house", HOUSE, request_only=True)],
    "responses": {
        200: OpenApiResponse(shapes.Generation, description="Finished in time (`Prefer: wait`)."),
        202: OpenApiResponse(shapes.Generation, description="Stored, waiting to be drawn."),
        **refusals(*BODY, 404, 409, 422),
    },
}
READ: dict[str, Any] = {
    "operation_id": "get_image",
    "summary": "Read a generation",
    "parameters": [RETRY_AFTER],
    "responses": {200: shapes.Generation, **refusals(400, 404)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_image",
    "summary": "Star a generation",
    "parameters": [RETRY_AFTER],
    "request": shapes.GenerationChange,
    "examples": [OpenApiExample("Star", {"starred": True}, request_only=True)],
    "responses": {200: shapes.Generation, **refusals(*BODY, 404)},
}
REMOVE: dict[str, Any] = {
    "operation_id": "remove_image",
    "summary": "Remove a generation for good",
    "description": "The row, its images and their files. What still waits or runs must be cancelled first.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Gone."), **refusals(404, 409)},
}
CANCEL: dict[str, Any] = {
    "operation_id": "cancel_image",
    "summary": "Cancel a generation",
    "description": "Waiting: ends now, is refunded. Running: ends within a second and a step, charged for what ran.",
    "parameters": [RETRY_AFTER],
    "request": None,
    "responses": {200: shapes.Generation, **refusals(404, 409)},
}
RETRY: dict[str, Any] = {
    "operation_id": "retry_image",
    "summary": "Ask for the same once more",
    "description": "A new generation with `retry_of` set. What still waits or runs cannot be retried.",
    "parameters": [LOCATION, RETRY_AFTER],
    "request": None,
    "responses": {202: shapes.Generation, **refusals(400, 404, 409)},
}
VARY: dict[str, Any] = {
    "operation_id": "vary_image",
    "summary": "Ask for the same with another seed",
    "description": "A new generation with `retry_of` set and a seed of its own.",
    "parameters": [LOCATION, RETRY_AFTER],
    "request": None,
    "responses": {202: shapes.Generation, **refusals(400, 404, 409)},
}
STREAM = (
    "Server-sent events: `queued` (with the generation), `progress {id, step, steps}`, `preview {id, data, index}` "
    "(`data` is a data URL), and at the end one of `succeeded`, `failed`, `canceled` with the whole generation. The "
    "stream opens with the present state and repeats it every 15 seconds."
)
STREAM_ANSWER = {(200, "text/event-stream"): OpenApiResponse(shapes.StreamedEvent, description=STREAM)}
GENERATION_EVENTS: dict[str, Any] = {
    "operation_id": "stream_image",
    "summary": "Watch a generation",
    "description": "Ends after the final event.",
    "parameters": [LAST_EVENT_ID, RETRY_AFTER],
    "responses": {**STREAM_ANSWER, **refusals(404)},
}
CALLER_EVENTS: dict[str, Any] = {
    "operation_id": "stream_work",
    "summary": "Watch all of one's own work",
    "description": "All that the caller has under way; `Last-Event-ID` also brings what has ended since. `notice` says "
    "that staff have paused or resumed a queue, or that workers have come or gone.",
    "parameters": [LAST_EVENT_ID, RETRY_AFTER],
    "responses": {**STREAM_ANSWER, **refusals()},
}
ME: dict[str, Any] = {
    "operation_id": "get_me",
    "summary": "Who am I",
    "parameters": [RETRY_AFTER],
    "responses": {200: shapes.Me, **refusals(400)},
}
MODELS: dict[str, Any] = {
    "operation_id": "list_models",
    "summary": "List models",
    "parameters": [RETRY_AFTER],
    "responses": {200: shapes.ModelPage, **refusals(400)},
}
LORAS: dict[str, Any] = {
    "operation_id": "list_loras",
    "summary": "List LoRAs",
    "parameters": [RETRY_AFTER],
    "responses": {200: shapes.LoraPage, **refusals(400)},
}
GRID: dict[str, Any] = {
    "operation_id": "create_grid",
    "summary": "Compare strengths of a LoRA",
    "description": (
        "One generation for each strength, with the same seeds; all of them are stored, or none. They share passes: "
        "strengths may differ within one."
    ),
    "parameters": [
        header(
            "Idempotency-Key", OpenApiTypes.STR, "Up to 255 characters. Repeated within 24 hours, it makes nothing new."
        ),
        answer_header("Idempotency-Replayed", "`true` where an earlier request is answered again.", [202]),
        RETRY_AFTER,
    ],
    "request": shapes.GridRequest,
    "examples": [
        OpenApiExample("A portrait", HOUSE | {"n": 2, "lora": "portrait", "scales": [0, 0.5, 1]}, request_only=True)
    ],
    "responses": {202: shapes.Grid, **refusals(*BODY, 404, 409, 422)},
}
ESTIMATE: dict[str, Any] = {
    "operation_id": "create_estimate",
    "summary": "Cost and waiting time of a request",
    "description": "Nothing is stored, reserved or charged.",
    "parameters": [RETRY_AFTER],
    "request": {"application/json": shapes.GenerationRequest, "multipart/form-data": shapes.GenerationForm},
    "examples": [OpenApiExample("A house", HOUSE, request_only=True)],
    "responses": {200: shapes.Estimate, **refusals(*BODY, 404)},
}
