"""/api/v1/exports."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s

from accounts.api.described.common import PAGE, RETRY_AFTER, Shape, answer_header, refusals
from accounts.enums import ExportStatus


class ExportShape(Shape):
    """An export: progress, and where its file is."""

    id = s.UUIDField()
    status = s.ChoiceField(choices=ExportStatus.values)
    done = s.IntegerField(help_text="Pictures in the file so far.")
    total = s.IntegerField()
    bytes = s.IntegerField(help_text="Of the file, once it is there.")
    error = s.CharField(allow_null=True)
    url = s.URLField(allow_null=True, help_text="The file, while it is there; it wants the same credential.")
    requested_by = s.UUIDField(allow_null=True)
    created_at = s.DateTimeField()
    finished_at = s.DateTimeField(allow_null=True)
    expires_at = s.DateTimeField(allow_null=True)


class ExportPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = ExportShape(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


LIST: dict[str, Any] = {
    "operation_id": "list_exports",
    "summary": "List exports",
    "description": "For owners, newest first.",
    "parameters": [*PAGE, RETRY_AFTER],
    "responses": {200: ExportPage, **refusals(400)},
}
ASK: dict[str, Any] = {
    "operation_id": "create_export",
    "summary": "Export everything",
    "description": (
        "For owners: pictures, receipts and tables of everything that the organisation has, as one zip. It is made in "
        "the background, one at a time (409 `export_under_way`), is there for a week, and takes the place of the last."
    ),
    "parameters": [answer_header("Location", "The address of the export.", [202]), RETRY_AFTER],
    "request": None,
    "responses": {202: ExportShape, **refusals(400, 409)},
}
READ: dict[str, Any] = {
    "operation_id": "get_export",
    "summary": "Read an export",
    "parameters": [RETRY_AFTER],
    "responses": {200: ExportShape, **refusals(400, 404)},
}
