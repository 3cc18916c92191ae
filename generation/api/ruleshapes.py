"""What the OpenAPI description says of rules for answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers as s

from accounts.api.described.common import BODY, RETRY_AFTER, Shape, answer_header, refusals
from accounts.api.serializers import StrictSerializer
from generation.books.rules import TEXT_CHARS
from generation.chat.filters.rules import ACTIONS, KINDS, MAX_RULES, MAX_WORD_CHARS

_BOUNDS = f"A word has {MAX_WORD_CHARS} characters at most, a pattern {TEXT_CHARS}; {MAX_RULES} rules at most."
_WORD = {"kind": "word", "action": "redact", "text": "project lighthouse"}


class RuleForm(StrictSerializer):
    """A rule. The text is read by the filter itself, which says what is wrong with it."""

    id = s.UUIDField(read_only=True)
    kind = s.ChoiceField(choices=KINDS, required=False, help_text="Without it a word.")
    action = s.ChoiceField(choices=ACTIONS, required=False, help_text="Cut the match out, or end the answer there.")
    text = s.CharField(
        help_text="A word or words, found without regard to case; or a pattern: a part of regular expressions without "
        "`*`, `+`, references and look-around."
    )
    enabled = s.BooleanField(required=False)
    created_at = s.DateTimeField(read_only=True)
    updated_at = s.DateTimeField(read_only=True)


class RulePage(Shape):
    """All of them, oldest first."""

    results = RuleForm(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


LIST: dict[str, Any] = {
    "operation_id": "list_rules",
    "summary": "List rules for answers",
    "description": "For admins: words and patterns that answers of chat models must not hold.",
    "parameters": [RETRY_AFTER],
    "responses": {200: RulePage, **refusals(400)},
}
MAKE: dict[str, Any] = {
    "operation_id": "create_rule",
    "summary": "Make a rule for answers",
    "description": f"For admins. It holds for answers that begin two seconds later. {_BOUNDS}",
    "parameters": [answer_header("Location", "The address of the rule.", [201]), RETRY_AFTER],
    "request": RuleForm,
    "examples": [OpenApiExample("A word", _WORD, request_only=True)],
    "responses": {201: RuleForm, **refusals(*BODY)},
}
READ: dict[str, Any] = {
    "operation_id": "get_rule",
    "summary": "Read a rule for answers",
    "description": "For admins.",
    "parameters": [RETRY_AFTER],
    "responses": {200: RuleForm, **refusals(400, 404)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_rule",
    "summary": "Change a rule for answers",
    "description": f"For admins; what the body names. {_BOUNDS}",
    "parameters": [RETRY_AFTER],
    "request": RuleForm,
    "examples": [OpenApiExample("Switch it off", {"enabled": False}, request_only=True)],
    "responses": {200: RuleForm, **refusals(*BODY, 404)},
}
DELETE: dict[str, Any] = {
    "operation_id": "delete_rule",
    "summary": "Delete a rule for answers",
    "description": "For admins.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Gone."), **refusals(404)},
}
