"""What the OpenAPI description says of zips and deletions."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers as s

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, Shape, answer_header, refusals
from generation.domain.selections import MAX_IDS

_IDS = {"ids": ["01a1fc51-f1f6-7d79-b0f9-83b32cf51d9f"]}


class SelectedIds(Shape):
    """Which generations. Ids that are not the tenant's are left out; where none is left the answer is 404."""

    ids = s.ListField(child=s.CharField(), min_length=1, max_length=MAX_IDS)


class Zip(Shape):
    """A zip of pictures: progress, and where its file is."""

    id = s.UUIDField()
    status = s.ChoiceField(choices=["waiting", "running", "ready", "failed", "expired", "withdrawn"])
    done = s.IntegerField(help_text="Pictures in the file so far.")
    total = s.IntegerField(help_text="Pictures of the generations that were found.")
    error = s.CharField(allow_null=True)
    created_at = s.DateTimeField()
    finished_at = s.DateTimeField(allow_null=True)
    bytes = s.IntegerField(help_text="Of the file, once it is there.")
    url = s.URLField(allow_null=True, help_text="The file, while it is there; it wants the same credential.")
    expires_at = s.DateTimeField(allow_null=True)


class ZipPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = Zip(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class Deletion(Shape):
    """Many generations that are deleted for good: how far it is."""

    id = s.UUIDField()
    status = s.ChoiceField(choices=["waiting", "running", "done", "failed"])
    done = s.IntegerField(help_text="Generations that are gone.")
    total = s.IntegerField(help_text="Generations that were found.")
    error = s.CharField(allow_null=True)
    created_at = s.DateTimeField()
    finished_at = s.DateTimeField(allow_null=True)
    left = s.IntegerField(help_text="Generations that stay, because they wait or run: cancel them first.")


class DeletionPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = Deletion(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


LIST_ZIPS: dict[str, Any] = {
    "operation_id": "list_zips",
    "summary": "List zips",
    "description": "One's own, newest first.",
    "parameters": [*PAGE, RETRY_AFTER],
    "responses": {200: ZipPage, **refusals(400)},
}
MAKE_ZIP: dict[str, Any] = {
    "operation_id": "create_zip",
    "summary": "Zip pictures",
    "description": (
        "All pictures of these generations as one file, 10,000 at most. It is made in the background, three of one "
        "member at a time (409 `selection_under_way`), and is there for a day; the three newest are kept. When a "
        "picture in it is deleted, the file goes as well (`withdrawn`): ask for it anew."
    ),
    "parameters": [answer_header("Location", "The address of the zip.", [202]), RETRY_AFTER],
    "request": SelectedIds,
    "examples": [OpenApiExample("Some", _IDS, request_only=True)],
    "responses": {202: Zip, **refusals(*BODY, 404, 409)},
}
READ_ZIP: dict[str, Any] = {
    "operation_id": "get_zip",
    "summary": "Read a zip",
    "parameters": [RETRY_AFTER],
    "responses": {200: Zip, **refusals(400, 404)},
}
LIST_DELETIONS: dict[str, Any] = {
    "operation_id": "list_deletions",
    "summary": "List deletions",
    "description": "One's own, newest first.",
    "parameters": [*PAGE, RETRY_AFTER],
    "responses": {200: DeletionPage, **refusals(400)},
}
DELETE_MANY: dict[str, Any] = {
    "operation_id": "create_deletion",
    "summary": "Delete generations for good",
    "description": (
        "Rows, pictures and their files. Up to a hundred generations are gone with the answer (`done`), more are "
        "deleted in the background. What still waits or runs stays and is counted in `left`."
    ),
    "parameters": [answer_header("Location", "The address of the deletion.", [202]), RETRY_AFTER],
    "request": SelectedIds,
    "examples": [OpenApiExample("Some", _IDS, request_only=True)],
    "responses": {202: Deletion, **refusals(*BODY, 404, 409)},
}
READ_DELETION: dict[str, Any] = {
    "operation_id": "get_deletion",
    "summary": "Read a deletion",
    "parameters": [RETRY_AFTER],
    "responses": {200: Deletion, **refusals(400, 404)},
}
