"""What the OpenAPI description says of conversations, messages and presets."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers as s

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, Shape, answer_header, refusals
from accounts.api.serializers import NoBody, StrictSerializer
from generation.api.descriptions import LAST_EVENT_ID
from generation.books.conversations import MAX_CONVERSATIONS, QUERY_CHARS, SYSTEM_CHARS, TITLE_CHARS
from generation.books.presets import MAX_PRESETS, NAME_CHARS
from generation.books.turns import MAX_MESSAGES
from generation.enums import MessageRole, MessageStatus

_OWN = "One's own: nobody else sees them, whatever their role."
_MODEL = "A chat model that GET /v1/models lists."
_ACCEPTED = "It is written while somebody has the events open, and a minute longer."
EVENT_STREAM = {(200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description="Events until the end.")}


class MessageError(Shape):
    """Why there is no answer, or only a part."""

    code = s.CharField()
    message = s.CharField()


class MessageTokens(Shape):
    """As the model's server counts them."""

    prompt = s.IntegerField()
    answer = s.IntegerField()


class MessageShape(Shape):
    """One message. An answer's `text` grows while its status is `running`."""

    id = s.UUIDField()
    place = s.IntegerField(help_text="In its conversation, from 0.")
    role = s.ChoiceField(choices=MessageRole.choices)
    status = s.ChoiceField(choices=MessageStatus.choices)
    text = s.CharField(help_text="Of an answer: Markdown, written by a model.")
    reasoning = s.CharField(help_text="What a thinking model wrote before its answer.")
    model = s.CharField()
    finish = s.CharField(help_text="stop, length, content_filter; unwatched where nobody looked any more.")
    error = MessageError(allow_null=True)
    left_out = s.IntegerField(help_text="Earlier messages that did not fit, and were not sent to the model.")
    tokens = MessageTokens(allow_null=True)
    total_ms = s.IntegerField(allow_null=True)
    created_at = s.DateTimeField()
    ended_at = s.DateTimeField(allow_null=True)


class MessagePage(Shape):
    """A part of a conversation, its end first."""

    results = MessageShape(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class ConversationForm(StrictSerializer):
    """A conversation; `text` is what is said first."""

    model = s.CharField(required=False, help_text=f"{_MODEL} Without it the first of them.")
    system = s.CharField(
        required=False, allow_blank=True, help_text=f"Told to the model before all else; {SYSTEM_CHARS} characters."
    )
    title = s.CharField(
        required=False, allow_blank=True, help_text=f"One line of {TITLE_CHARS}; without it the first words."
    )
    text = s.CharField(required=False, allow_blank=True, trim_whitespace=False)


class ConversationChange(StrictSerializer):
    """What may change; model and system prompt hold from the next answer on."""

    model = s.CharField(required=False, help_text=_MODEL)
    system = s.CharField(required=False, allow_blank=True)
    title = s.CharField(required=False)


class ConversationShape(Shape):
    """A conversation without its messages."""

    id = s.UUIDField()
    title = s.CharField()
    model = s.CharField()
    system = s.CharField()
    created_at = s.DateTimeField()
    updated_at = s.DateTimeField(help_text="The last turn.")


class ConversationPage(Shape):
    """The last turn first."""

    results = ConversationShape(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class SayForm(StrictSerializer):
    """What is said."""

    text = s.CharField(trim_whitespace=False, help_text="As many characters as the model takes, 32,768 by default.")
    model = s.CharField(required=False, help_text=f"{_MODEL} Without it the conversation's.")


class AnswerForm(StrictSerializer):
    """Which model answers."""

    model = s.CharField(required=False, help_text=f"{_MODEL} Without it the conversation's.")


class TurnShape(Shape):
    """What was said (null where it is answered anew), and the answer that waits."""

    conversation = ConversationShape()
    said = MessageShape(allow_null=True)
    answer = MessageShape(allow_null=True)


class StopShape(Shape):
    """The answer that was under way, or null. It ends within a second."""

    answer = MessageShape(allow_null=True)


class PresetForm(StrictSerializer):
    """A system prompt under a name."""

    id = s.UUIDField(read_only=True)
    name = s.CharField(help_text=f"One line of {NAME_CHARS} characters at most.")
    text = s.CharField(help_text=f"{SYSTEM_CHARS} characters at most.")
    created_at = s.DateTimeField(read_only=True)
    updated_at = s.DateTimeField(read_only=True)


class PresetPage(Shape):
    """All of them, oldest first."""

    results = PresetForm(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


_EVENTS = answer_header("Location", "Where the answer's events are.", [202])
LIST: dict[str, Any] = {
    "operation_id": "list_conversations",
    "summary": "List or search conversations",
    "description": _OWN,
    "parameters": [
        OpenApiParameter(
            "q", OpenApiTypes.STR, description=f"Pieces of titles and messages, all of them; {QUERY_CHARS} characters."
        ),
        *PAGE,
        RETRY_AFTER,
    ],
    "responses": {200: ConversationPage, **refusals(400)},
}
MAKE: dict[str, Any] = {
    "operation_id": "create_conversation",
    "summary": "Begin a conversation",
    "description": f"With `text` its first turn begins too. {MAX_CONVERSATIONS} of each member at most.",
    "parameters": [answer_header("Location", "The address of the conversation.", [201]), RETRY_AFTER],
    "request": ConversationForm,
    "examples": [OpenApiExample("A question", {"text": "Why is the sky blue?"}, request_only=True)],
    "responses": {201: TurnShape, **refusals(*BODY, 409)},
}
READ: dict[str, Any] = {
    "operation_id": "get_conversation",
    "summary": "Read a conversation",
    "description": _OWN,
    "parameters": [RETRY_AFTER],
    "responses": {200: ConversationShape, **refusals(400, 404)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_conversation",
    "summary": "Rename a conversation, change its model or system prompt",
    "description": "What the body names.",
    "parameters": [RETRY_AFTER],
    "request": ConversationChange,
    "examples": [OpenApiExample("Another name", {"title": "The sky"}, request_only=True)],
    "responses": {200: ConversationShape, **refusals(*BODY, 404)},
}
DELETE: dict[str, Any] = {
    "operation_id": "delete_conversation",
    "summary": "Delete a conversation",
    "description": "With all of its messages, for good.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Gone."), **refusals(404)},
}
MESSAGES: dict[str, Any] = {
    "operation_id": "list_messages",
    "summary": "Read the messages of a conversation",
    "description": "The end first; follow `next` towards the beginning.",
    "parameters": [*PAGE, RETRY_AFTER],
    "responses": {200: MessagePage, **refusals(400, 404)},
}
SAY: dict[str, Any] = {
    "operation_id": "create_message",
    "summary": "Say something",
    "description": f"The answer is a message that waits. {_ACCEPTED} {MAX_MESSAGES} messages at most.",
    "parameters": [_EVENTS, RETRY_AFTER],
    "request": SayForm,
    "examples": [OpenApiExample("A question", {"text": "Why is the sky blue?"}, request_only=True)],
    "responses": {202: TurnShape, **refusals(*BODY, 404, 409)},
}
SAY_DIFFERENTLY: dict[str, Any] = {
    "operation_id": "replace_message",
    "summary": "Say something else",
    "description": "In the place of a message of one's own, which goes together with all that followed it.",
    "parameters": [_EVENTS, RETRY_AFTER],
    "request": SayForm,
    "responses": {202: TurnShape, **refusals(*BODY, 404, 409)},
}
ANSWER: dict[str, Any] = {
    "operation_id": "answer_again",
    "summary": "Have the last message answered anew",
    "description": f"The answer that there is goes. {_ACCEPTED}",
    "parameters": [_EVENTS, RETRY_AFTER],
    "request": AnswerForm,
    "examples": [OpenApiExample("By the same model", {}, request_only=True)],
    "responses": {202: TurnShape, **refusals(*BODY, 404, 409)},
}
STOP: dict[str, Any] = {
    "operation_id": "stop_answer",
    "summary": "Stop the answer under way",
    "description": "What has come of it stays.",
    "parameters": [RETRY_AFTER],
    "request": NoBody,
    "responses": {200: StopShape, **refusals(*BODY, 404)},
}
EVENTS: dict[str, Any] = {
    "operation_id": "watch_conversation",
    "summary": "Watch an answer being written",
    "description": (
        "Server-sent events: `answer` (the message so far), `piece` (`{id, text, reasoning}`, what comes after it), "
        "then `end` (the whole message) or `idle` (there is none); with them the stream ends. Opening it begins an "
        "answer that waits. It resumes with `Last-Event-ID`."
    ),
    "parameters": [LAST_EVENT_ID, RETRY_AFTER],
    "responses": {**EVENT_STREAM, **refusals(404)},
}
PRESETS: dict[str, Any] = {
    "operation_id": "list_presets",
    "summary": "List presets",
    "description": f"System prompts under names. {_OWN}",
    "parameters": [RETRY_AFTER],
    "responses": {200: PresetPage, **refusals(400)},
}
MAKE_PRESET: dict[str, Any] = {
    "operation_id": "create_preset",
    "summary": "Keep a system prompt under a name",
    "description": f"{MAX_PRESETS} of each member at most.",
    "parameters": [answer_header("Location", "The address of the preset.", [201]), RETRY_AFTER],
    "request": PresetForm,
    "examples": [OpenApiExample("Short", {"name": "Short", "text": "Answer in one sentence."}, request_only=True)],
    "responses": {201: PresetForm, **refusals(*BODY, 409)},
}
READ_PRESET: dict[str, Any] = {
    "operation_id": "get_preset",
    "summary": "Read a preset",
    "description": _OWN,
    "parameters": [RETRY_AFTER],
    "responses": {200: PresetForm, **refusals(400, 404)},
}
CHANGE_PRESET: dict[str, Any] = {
    "operation_id": "change_preset",
    "summary": "Change a preset",
    "description": "What the body names; conversations that began with it stay as they are.",
    "parameters": [RETRY_AFTER],
    "request": PresetForm,
    "examples": [OpenApiExample("Other words", {"text": "Answer in two sentences."}, request_only=True)],
    "responses": {200: PresetForm, **refusals(*BODY, 404, 409)},
}
DELETE_PRESET: dict[str, Any] = {
    "operation_id": "delete_preset",
    "summary": "Delete a preset",
    "description": "For good.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Gone."), **refusals(404)},
}
