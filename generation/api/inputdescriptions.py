"""What the OpenAPI description says about stored inputs, and about pictures in requests."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema_field
from rest_framework import serializers as s

from accounts.api.described.common import BODY, RETRY_AFTER, Shape, refusals
from generation.engine.request import MAX_INPUTS
from generation.enums import InputKind

PICTURE = (
    "A data URL (`data:image/png;base64,…`), or the id of an image or a stored input of yours. PNG, JPEG or WebP, "
    "10 MB at most; addresses are not fetched."
)
PICTURES = f"{PICTURE} Models that edit take a list of up to three."
MASK = (
    f"{PICTURE} White is drawn anew, black stays; what is transparent stays too. It has the size of its image, and "
    "makes the task `inpaint`."
)
STRENGTH = "Above 0, up to 1: how little of the image stays. Of image-to-image and inpaint; 0.6 when left out."


_ONE = {"type": "string"}


@extend_schema_field(
    {"oneOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MAX_INPUTS}, {"type": "null"}]}
)
class PicturesField(s.Field):  # type: ignore[type-arg]
    """One, or a list."""


class Picture(Shape):
    """A stored input: its id may stand as `image` or `mask` in any request."""

    id = s.UUIDField()
    url = s.URLField()
    width = s.IntegerField()
    height = s.IntegerField()
    sha256 = s.CharField(help_text="Of the PNG that the studio has made of it.")


class StoredInput(Picture):
    kind = s.ChoiceField(choices=InputKind.values)
    bytes = s.IntegerField()


class InputRequest(Shape):
    """One of the two."""

    image = s.CharField(required=False, help_text=PICTURE)
    mask = s.CharField(required=False, help_text=PICTURE)


class InputForm(Shape):
    """One of the two, as a file."""

    image = s.FileField(required=False)
    mask = s.FileField(required=False)


RED = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGklEQVR42m"
    "M8ISfHQApgYiARjGoY1TB0NAAATx8BJMixHB8AAAAASUVORK5CYII="
)
"""A red square, for examples."""

STORE: dict[str, Any] = {
    "operation_id": "create_input",
    "summary": "Store a picture to draw from",
    "description": (
        "Kept for a day, and then as long as a generation uses it. The same picture sent again is the same input. What "
        "is kept is a PNG of 8 bits, upright, in sRGB, transparency laid on white; a large one is made smaller."
    ),
    "parameters": [RETRY_AFTER],
    "request": {"application/json": InputRequest, "multipart/form-data": InputForm},
    "examples": [OpenApiExample("A picture", {"image": RED}, request_only=True)],
    "responses": {201: OpenApiResponse(StoredInput, description="Stored."), **refusals(*BODY, 404, 429)},
}
