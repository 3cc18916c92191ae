"""What the async door answers without a view of Django, for the API's description."""

from __future__ import annotations

from typing import Any, get_args

from accounts.api.described.common import OPENAI_ERROR, PROBLEM, REFUSALS
from accounts.api.schema import OPENAI
from generation.chat.reader import MAX_MESSAGES, MAX_STOPS, MAX_TOKENS
from generation.chat.request import Effort, Role
from generation.chat.sentiment import MAX_CHARS, MAX_MODEL, MAX_TEXTS
from generation.chat.tasks import MOODS
from generation.chat.tools import MAX_TOOLS

_WORDS = {
    **REFUSALS,
    400: "Malformed JSON, or a value out of range; the message names the field and the bound. Or the model refuses it.",
    404: "No such model, or not for this key.",
    429: "Rate, tokens of the day or calls at once, with `Retry-After`.",
    503: "No server answers for the model, or the answer broke off, with `Retry-After` where waiting helps.",
}
_STATUSES = (400, 401, 403, 404, 413, 415, 429, 503)
_MOOD = {"type": "string", "enum": list(MOODS)}
_JUDGED = {
    "label": _MOOD,
    "scores": {
        "type": ["object", "null"],
        "description": "Each mood's probability; null where the model says only a word.",
        "properties": {mood: {"type": "number", "minimum": 0, "maximum": 1} for mood in MOODS},
    },
}
_USED = {
    "model": {"type": "string"},
    "usage": {
        "type": "object",
        "properties": {"input_tokens": {"type": "integer"}, "output_tokens": {"type": "integer"}},
    },
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_CHARS}


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _operation(
    *, body: dict[str, Any], answers: dict[str, Any], refusal: dict[str, Any], kind: str, **more: Any
) -> dict[str, Any]:
    words = {**{str(status): _WORDS[status] for status in _STATUSES}, "default": "A refusal"}
    content = {kind: {"schema": refusal}}
    refused = {status: {"description": text, "content": content} for status, text in words.items()}
    return {
        **more,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"200": answers, **refused},
    }


CHAT = _operation(
    operationId="openai_chat",
    summary="Chat, as OpenAI's API does",
    description="What OpenAI does not know is passed over. Needs the scope `chat`.",
    tags=[OPENAI],
    security=[{"apiKey": []}],
    body={
        "schema": _object(
            "model",
            "messages",
            model={"type": "string", "description": "A chat model of `GET /v1/models`."},
            messages={
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_MESSAGES,
                "items": _object(
                    "role",
                    role={"type": "string", "enum": list(get_args(Role))},
                    content={"description": "A text, or parts: `text`, and `image_url` with a data URL."},
                    tool_calls={"type": "array", "items": {"type": "object"}},
                    tool_call_id={"type": "string"},
                ),
            },
            stream={"type": "boolean", "default": False},
            stream_options=_object(include_usage={"type": "boolean", "default": False}),
            temperature={"type": "number", "minimum": 0, "maximum": 2},
            top_p={"type": "number", "minimum": 0, "maximum": 1},
            max_completion_tokens={"type": "integer", "minimum": 1, "maximum": MAX_TOKENS},
            max_tokens={
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_TOKENS,
                "description": "Its older name.",
            },
            stop={"description": f"A text, or up to {MAX_STOPS}."},
            seed={"type": "integer"},
            presence_penalty={"type": "number", "minimum": -2, "maximum": 2},
            frequency_penalty={"type": "number", "minimum": -2, "maximum": 2},
            tools={"type": "array", "maxItems": MAX_TOOLS, "items": {"type": "object"}},
            tool_choice={"description": "`none`, `auto`, `required`, or a function by its name."},
            parallel_tool_calls={"type": "boolean"},
            response_format=_object("type", type={"type": "string", "enum": ["text", "json_object", "json_schema"]}),
            reasoning_effort={"type": "string", "enum": list(get_args(Effort))},
            user={"type": "string"},
        ),
        "examples": {
            "AWish": {
                "summary": "A wish",
                "value": {
                    "model": "demo-chat",
                    "messages": [{"role": "user", "content": "I would like a big blue star, please"}],
                },
            }
        },
    },
    answers={
        "description": "The answer as `chat.completion`; with `stream` its pieces, then `[DONE]`.",
        "content": {
            "application/json": {
                "schema": _object(
                    "id",
                    "object",
                    "created",
                    "model",
                    "choices",
                    id={"type": "string"},
                    object={"type": "string", "enum": ["chat.completion"]},
                    created={"type": "integer"},
                    model={"type": "string"},
                    system_fingerprint={"type": "string"},
                    choices={"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 1},
                    usage={"type": "object"},
                )
            },
            "text/event-stream": {"schema": {"type": "string"}},
        },
    },
    refusal=OPENAI_ERROR,
    kind="application/json",
)
SENTIMENT = _operation(
    operationId="judge_sentiment",
    summary="The mood of one text, or of many",
    description="One of `text` and `texts`. Nothing of a text is kept. Needs the scope `sentiment`.",
    tags=["Conversations"],
    security=[{"apiKey": []}, {"session": []}],
    body={
        "schema": _object(
            text=_TEXT,
            texts={"type": "array", "minItems": 1, "maxItems": MAX_TEXTS, "items": _TEXT},
            model={"type": "string", "maxLength": MAX_MODEL, "description": "Without it the first that you may use."},
        ),
        "examples": {
            "Two": {"summary": "Two texts", "value": {"texts": ["今天心情真好", "This is not what I hoped for."]}}
        },
    },
    answers={
        "description": "In the order of the texts.",
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        _object("model", "label", "scores", "usage", **_USED, **_JUDGED),
                        _object(
                            "model",
                            "results",
                            "usage",
                            **_USED,
                            results={"type": "array", "items": _object("label", "scores", **_JUDGED)},
                        ),
                    ]
                }
            }
        },
    },
    refusal=PROBLEM,
    kind="application/problem+json",
)
DOOR_PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"post": CHAT},
    "/api/v1/sentiment": {"post": SENTIMENT},
}
