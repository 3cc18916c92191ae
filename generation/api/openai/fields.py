"""The fields of OpenAI's image requests, read into a request of ours and the form that its answer shall have.

What cannot be done is refused by name. What has no meaning here (`WORDS`) is checked and then left alone; what OpenAI
does not know either is passed over. Nothing of a body is ever sent on: a request is built from what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from accounts.errors import InvalidRequest
from generation.domain.request import MAX_ERRORS, GenerationRequest, parse_request, raise_for
from generation.engine.request import MAX_CFG, MAX_SIDE

MAX_PARTIALS = 3
MAX_NAME_CHARS = 512
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
# Read by the rules of `/api/v1/images`, under the same names.
SAME = (
    "model",
    "prompt",
    "n",
    "output_format",
    "negative_prompt",
    "num_inference_steps",
    "true_cfg_scale",
    "seed",
    "loras",
)
EDITED = ("image", "mask", "strength")  # of edits only
FIDELITIES = ("high", "low")
# The words that a field may have. Only `response_format` changes anything: how many steps a model needs is in its
# entry, and none draws transparent grounds.
WORDS: Mapping[str, tuple[str, ...]] = {
    "quality": ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
    "moderation": ("auto", "low"),
    "style": ("vivid", "natural"),
    "background": ("auto", "opaque"),
    "response_format": ("b64_json", "url"),
    "complexity": ("low", "medium", "high"),
}
NO_MODEL = "-"  # stands where nobody names one, until the first that may be used is known


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """How the answer is wanted. It travels from Django's side to the door as JSON."""

    event: str  # `image_generation`: the first part of the events' names
    response_format: str = "b64_json"
    stream: bool = False
    partial_images: int = 0
    safety_identifier: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For the door."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AnswerForm:
        """What `to_json` gave."""
        return cls(**data)


def read_generation(data: Mapping[str, Any]) -> tuple[GenerationRequest, AnswerForm]:
    """The body of `POST /v1/images/generations`. Raises `InvalidRequest` that names every wrong field."""
    return _read(_Reader(data), data, SAME, event="image_generation")


def read_edit(data: Mapping[str, Any]) -> tuple[GenerationRequest, AnswerForm]:
    """The body of `POST /v1/images/edits`, a form's or OpenAI's JSON. Raises `InvalidRequest`."""
    data = _without_references(data)
    reader = _Reader(data)
    if data.get("image") is None:
        reader.errors["image"] = ["is required"]
    reader.read("input_fidelity", _one_of(FIDELITIES))
    if data.get("markup") is not None:
        reader.errors["markup"] = ["is not offered: no model here reads it; send a mask"]
    request, form = _read(reader, data, (*SAME, *EDITED), event="image_edit")
    if request.mask is not None and request.mask.id is None:  # what is stored here is a mask of ours already
        request = replace(request, mask=replace(request.mask, alpha=True))
    return request, form


def _without_references(data: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's JSON names pictures by objects: `{"image_url": data URL}` or `{"file_id": id}`; `images` is the list."""
    found = dict(data)
    if "image" not in found and found.get("images") is not None:
        found["image"] = found["images"]
    if isinstance(found.get("image"), list):
        found["image"] = [_referred(one) for one in found["image"]]
    found["mask"] = _referred(found.get("mask"))
    return found


def _referred(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) & {"image_url", "file_id"}:
        return value.get("image_url") or value.get("file_id")
    return value


def _read(
    reader: _Reader, data: Mapping[str, Any], same: tuple[str, ...], *, event: str
) -> tuple[GenerationRequest, AnswerForm]:
    own = {name: data[name] for name in same if data.get(name) is not None}
    own.setdefault("model", NO_MODEL)
    if "prompt" in data:
        own["prompt"] = data["prompt"]
    own |= reader.read("size", _size) or {}
    compression = reader.read("output_compression", _whole(0, 100))
    form = _read_form(reader, event)
    reader.check_together(compression, form)
    try:
        request = parse_request(own)
    except InvalidRequest as error:
        reader.errors = {**error.fields, **reader.errors}
        raise_for(reader.errors)
        raise
    raise_for(reader.errors)
    return replace(request, output_compression=compression), form


def _read_form(reader: _Reader, event: str) -> AnswerForm:
    words = {name: reader.read(name, _one_of(words)) for name, words in WORDS.items()}
    # Of distilled guidance, which no family here has: without effect, as in diffusers.
    reader.read("guidance_scale", _number(0, MAX_CFG))
    user, identifier = reader.read("user", _name), reader.read("safety_identifier", _name)
    return AnswerForm(
        event=event,
        response_format=words["response_format"] or "b64_json",
        stream=bool(reader.read("stream", _flag)),
        partial_images=reader.read("partial_images", _whole(0, MAX_PARTIALS)) or 0,
        safety_identifier=identifier or user or None,
    )


class _Reader:
    """Reads single fields and remembers what was wrong with each."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.errors: dict[str, list[str]] = {}

    def read(self, name: str, by: Callable[[Any], Any]) -> Any:
        """The field's value; None where it is absent, null or wrong."""
        value = self._data.get(name)
        if value is None:
            return None
        try:
            return by(value)
        except ValueError as error:
            if len(self.errors) < MAX_ERRORS:
                self.errors[name] = [str(error)]
            return None

    def check_together(self, compression: int | None, form: AnswerForm) -> None:
        """What two fields must not say at once."""
        if compression not in (None, 100) and self._data.get("output_format", "png") in (None, "png"):
            self.errors["output_compression"] = ["below 100 needs output_format jpeg or webp: PNG keeps everything"]
        if form.stream and form.response_format == "url":
            self.errors["response_format"] = ["must be b64_json with stream: events carry the picture itself"]


def _size(value: Any) -> dict[str, int]:
    if value == "auto":
        return {}
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be 'auto' or width and height as in '1024x1024'")
    width, height = int(found[1]), int(found[2])
    for side in (width, height):
        if side % 16 or not 16 <= side <= MAX_SIDE:
            raise ValueError(f"width and height must be multiples of 16, from 16 to {MAX_SIDE}, got {value}")
    return {"width": width, "height": height}


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
        raise ValueError(f"must be text of at most {MAX_NAME_CHARS} characters")
    return value
