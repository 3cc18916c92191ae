"""What the OpenAPI description says of styles."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers as s

from accounts.api.described.common import BODY, RETRY_AFTER, Shape, answer_header, refusals
from accounts.api.serializers import StrictSerializer
from generation.domain.styles import MAX_STYLES, NAME_CHARS, TEXT_CHARS

_WATERCOLOUR = {
    "name": "Watercolour",
    "prompt": "a watercolour of {prompt}, soft edges, rough paper",
    "negative_prompt": "photo, text",
}
_BOUNDS = f"Name: one line of {NAME_CHARS} characters at most; templates: {TEXT_CHARS}; {MAX_STYLES} styles at most."


class StyleForm(StrictSerializer):
    """A style. The texts are read by the domain, which says what is wrong with them."""

    id = s.UUIDField(read_only=True)
    name = s.CharField(help_text="What requests call it; the case of letters does not matter.")
    prompt = s.CharField(help_text="A template: `{prompt}`, once, is where the words of a request stand.")
    negative_prompt = s.CharField(
        required=False, allow_blank=True, help_text="Added to the request's own; takes the place of the model's."
    )
    position = s.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_STYLES,
        help_text="In the list, from 0; new ones come last.",
    )
    created_at = s.DateTimeField(read_only=True)
    updated_at = s.DateTimeField(read_only=True)


class StylePage(Shape):
    """All of them, in their order."""

    results = StyleForm(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


LIST: dict[str, Any] = {
    "operation_id": "list_styles",
    "summary": "List styles",
    "description": "The prompt templates of one's organisation, in their order.",
    "parameters": [RETRY_AFTER],
    "responses": {200: StylePage, **refusals(400)},
}
MAKE: dict[str, Any] = {
    "operation_id": "create_style",
    "summary": "Make a style",
    "description": f"For admins. {_BOUNDS}",
    "parameters": [answer_header("Location", "The address of the style.", [201]), RETRY_AFTER],
    "request": StyleForm,
    "examples": [OpenApiExample("A watercolour", _WATERCOLOUR, request_only=True)],
    "responses": {201: StyleForm, **refusals(*BODY, 409)},
}
READ: dict[str, Any] = {
    "operation_id": "get_style",
    "summary": "Read a style",
    "parameters": [RETRY_AFTER],
    "responses": {200: StyleForm, **refusals(400, 404)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_style",
    "summary": "Change or move a style",
    "description": f"For admins; what the body names. What was drawn with it stays as it is. {_BOUNDS}",
    "parameters": [RETRY_AFTER],
    "request": StyleForm,
    "examples": [OpenApiExample("First of all", {"position": 0}, request_only=True)],
    "responses": {200: StyleForm, **refusals(*BODY, 404, 409)},
}
DELETE: dict[str, Any] = {
    "operation_id": "delete_style",
    "summary": "Delete a style",
    "description": "For admins. What was drawn with it stays as it is, with the style's name.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Gone."), **refusals(404)},
}
