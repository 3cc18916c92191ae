"""Requests as `multipart/form-data`: the fields of the JSON, numbers and lists written as text, pictures as files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from rest_framework.request import Request

from accounts.api.parsers import BoundedMultiPartParser, MalformedJSON, StrictJSONParser, parse_json
from accounts.api.views import read_object
from accounts.errors import InvalidRequest
from generation.domain.inputguard import MAX_BYTES
from generation.domain.sources import Upload
from generation.errors import PictureRefused

PARSERS = (BoundedMultiPartParser, StrictJSONParser)
PICTURES = ("image", "mask")
_NUMBERS = frozenset(
    {"width", "height", "num_inference_steps", "true_cfg_scale", "seed", "n", "strength", "guidance_scale",
     "output_compression", "partial_images"}
)  # fmt: skip
_FLAGS = {"stream": {"true": True, "false": False}}
_JSON = frozenset({"loras", "metadata"})
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?([eE][-+]?\d{1,3})?")


def read_request(request: Request) -> Mapping[str, Any]:
    """The body's fields, whichever of the two it is. Raises `InvalidRequest`, `PictureRefused`."""
    data = read_object(request)
    return read_form(data) if isinstance(data, QueryDict) else data


def read_form(form: QueryDict) -> dict[str, Any]:
    """A form's fields with their types: what cannot be read as one stays text, and is refused by its name later on."""
    found: dict[str, Any] = {}
    for name in form:
        values, plain = form.getlist(name), name.removesuffix("[]")
        if plain == "image":  # several files, under one name or the other
            found.setdefault("image", []).extend(_read(plain, value) for value in values)
        elif len(values) > 1:
            raise InvalidRequest(f"{name[:60]} occurs twice", field=name[:60])
        else:
            found[name] = _read(name, values[0])
    if len(found.get("image", ())) == 1:
        [found["image"]] = found["image"]
    return found


def _read(name: str, value: str | UploadedFile[Any]) -> Any:
    if isinstance(value, UploadedFile):
        return _read_file(name, value)
    if name in _NUMBERS and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("-").isdigit() else float(value)
    if name in _JSON:
        try:
            return parse_json(value.encode("utf-8", "surrogatepass"))
        except MalformedJSON as error:
            raise InvalidRequest(f"{name}: {error.detail}", field=name) from None
    return _FLAGS.get(name, {}).get(value, value)


def _read_file(name: str, file: UploadedFile[Any]) -> Upload:
    if name not in PICTURES:
        raise InvalidRequest(f"{name[:60]} is a file, only image and mask may be", field=name[:60])
    if (file.size or 0) > MAX_BYTES:
        raise PictureRefused(f"is too large, max {MAX_BYTES} bytes", field=name)
    return Upload(file.read(), file.content_type or "")
