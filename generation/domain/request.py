"""What a request may say, as far as it can be judged without the model: strict reading (`resolve.py` goes on)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from accounts.errors import InvalidRequest
from generation.domain.sources import Source, read_source, read_sources
from generation.engine.request import (
    MAX_CFG,
    MAX_LORA_SCALE,
    MAX_LORAS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_SIDE,
    MAX_STEPS,
)
from generation.enums import OutputFormat

MAX_IMAGES = 10
MAX_METADATA_CHARS = 4096
MAX_ERRORS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """A style adapter by its name on offer, and its strength; None means its usual one."""

    name: str
    scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What somebody asked for, as far as it can be judged without the model. `None` means: the model's default."""

    model: str
    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    true_cfg_scale: float | None = None
    seed: int | None = None
    n: int = 1
    loras: tuple[LoraChoice, ...] = ()
    output_format: str = OutputFormat.PNG.value
    output_compression: int | None = None  # 0 to 100, the encoder's quality, of JPEG and WebP; None: the house's
    metadata: Mapping[str, Any] = field(default_factory=dict)
    webhook: UUID | None = None
    image: tuple[Source, ...] = ()
    mask: Source | None = None
    strength: float | None = None
    style: str = ""  # by its name, to be applied (`generation/domain/styles.py`)
    styled: str = ""  # the style whose words these are already


def parse_request(data: Mapping[str, Any]) -> GenerationRequest:
    """Read a JSON object. Raises `InvalidRequest` that names every wrong field with its bound."""
    if not isinstance(data, Mapping):
        raise InvalidRequest("the body must be a JSON object", field="body")
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for name, value in data.items():
        try:
            if name not in _READERS:
                raise _Wrong(f"unknown field, the fields are {', '.join(_READERS)}")
            if value is None and name in _OPTIONAL:
                continue
            values[name] = _READERS[name](value)
        except _Wrong as error:
            errors[_printable(name)] = [str(error)]
            if len(errors) == MAX_ERRORS:  # an answer must not be twenty times as long as its request
                break
    for name in ("model", "prompt"):
        if name not in data:
            errors[name] = ["is required"]
    raise_for(errors)
    return GenerationRequest(**values)


def hash_request(request: GenerationRequest) -> str:
    """A SHA-256 over all fields: what "the same body" means where no bytes of a body are at hand."""
    values = {item.name: getattr(request, item.name) for item in fields(request)}
    values["loras"] = [[lora.name, lora.scale] for lora in request.loras]
    # What says nothing is left out, as it was before there were pictures and styles.
    for name in ("image", "mask", "strength", "style", "styled"):
        if values[name] in (None, (), ""):
            del values[name]
    if request.image:
        values["image"] = [source.key for source in request.image]
    if request.mask:
        values["mask"] = request.mask.key
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def raise_for(errors: Mapping[str, list[str]]) -> None:
    """Raise one `InvalidRequest` for all wrong fields, or nothing."""
    if not errors:
        return
    message = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in errors.items())
    raise InvalidRequest(message[:1000], field=next(iter(errors)), fields=dict(errors))


class _Wrong(Exception):
    """One field's complaint."""


def _printable(name: object) -> str:
    text = str(name)[:60].encode("utf-8", "replace").decode()
    return text.replace("\x00", "�") or "(empty)"


def _check_text(value: object, *, most: int) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be text, got {_kind(value)}")
    if len(value) > most:
        raise _Wrong(f"too long, max {most} chars, got {len(value)}")
    if "\x00" in value:
        raise _Wrong("holds a NUL character, remove it")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise _Wrong("holds a lone surrogate, send valid Unicode")
    return value


def _read_prompt(value: object) -> str:
    if isinstance(value, str) and len(value) > MAX_PROMPT_CHARS:
        raise _Wrong(f"prompt too long, max {MAX_PROMPT_CHARS} chars")
    text = _check_text(value, most=MAX_PROMPT_CHARS)
    if not text.strip():
        raise _Wrong("is empty, say what to draw")
    return text


def _text(*, most: int) -> Callable[[object], str]:
    return lambda value: _check_text(value, most=most)


def _read_model(value: object) -> str:
    text = _check_text(value, most=100)
    if not text:
        raise _Wrong("is empty, name a model")
    return text


def _whole(low: int, high: int, *, multiple: int = 1) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _Wrong(f"must be a whole number, got {_kind(value)}")
        if not low <= value <= high:
            raise _Wrong(f"must be {low} to {high}, got {_short(value)}")
        if value % multiple:
            raise _Wrong(f"must be a multiple of {multiple}, got {value}")
        return value

    return read


def _number(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _Wrong(f"must be a number, got {_kind(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise _Wrong("must be a finite number")
        if not low <= value <= high:
            raise _Wrong(f"must be {low:g} to {high:g}, got {_short(value)}")
        return float(value)

    return read


def read_scale(value: object) -> float:
    """A LoRA's strength, from JSON. Raises `InvalidRequest`."""
    try:
        return _number(-MAX_LORA_SCALE, MAX_LORA_SCALE)(value)
    except _Wrong as error:
        raise InvalidRequest(str(error), field="scales") from error


def _read_loras(value: object) -> tuple[LoraChoice, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"must be a list of {{name, scale}}, got {_kind(value)}")
    if len(value) > MAX_LORAS:
        raise _Wrong(f"has {len(value)} entries, max {MAX_LORAS}")
    found = []
    for entry in value:
        if not isinstance(entry, Mapping) or not {"name"} <= set(entry) <= {"name", "scale"}:
            raise _Wrong("every entry must be {name, scale}")
        said = entry.get("scale")
        scale = None if said is None else _number(-MAX_LORA_SCALE, MAX_LORA_SCALE)(said)
        found.append(LoraChoice(name=_read_lora_name(entry["name"]), scale=scale))
    if len({lora.name for lora in found}) < len(found):
        raise _Wrong("names the same LoRA twice")
    return tuple(found)


def _read_lora_name(value: object) -> str:
    text = _check_text(value, most=100)
    if not text:
        raise _Wrong("has an entry without a name")
    return text


def _read_format(value: object) -> str:
    if not isinstance(value, str) or value not in OutputFormat.values:
        raise _Wrong(f"must be one of {', '.join(OutputFormat.values)}")
    return value


def _read_metadata(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong(f"must be an object, got {_kind(value)}")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise _Wrong("must be plain JSON without NaN or infinity") from None
    if len(text) > MAX_METADATA_CHARS:
        raise _Wrong(f"too long, max {MAX_METADATA_CHARS} chars as JSON, got {len(text)}")
    if "\\u0000" in text:
        raise _Wrong("holds a NUL character, remove it")
    _check_text(text, most=MAX_METADATA_CHARS)
    return dict(value)


def _read_webhook(value: object) -> UUID:
    try:
        if not isinstance(value, (str, UUID)):
            raise ValueError
        found = UUID(str(value))
        if str(found) != str(value).lower():  # Python also reads `{…}` and `urn:uuid:…`
            raise ValueError
        return found
    except ValueError:
        raise _Wrong("must be the id (a UUID) of a registered endpoint") from None


def _read_images(value: object) -> tuple[Source, ...]:
    try:
        return read_sources(value)
    except ValueError as error:
        raise _Wrong(str(error)) from None


def _read_mask(value: object) -> Source:
    try:
        return read_source(value)
    except ValueError as error:
        raise _Wrong(str(error)) from None


def _read_strength(value: object) -> float:
    found = _number(0.0, 1.0)(value)
    if found == 0:
        raise _Wrong("must be more than 0, up to 1: 0 would draw nothing")
    return found


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _short(value: object) -> str:
    text = f"{value:.3e}" if isinstance(value, int) and abs(value) > 10**21 and abs(value) < 10**300 else ""
    return text or (str(value) if not isinstance(value, int) or abs(value) < 10**30 else "a far larger number")


_READERS: dict[str, Callable[[object], Any]] = {
    "model": _read_model,
    "prompt": _read_prompt,
    "negative_prompt": _text(most=MAX_PROMPT_CHARS),
    "width": _whole(16, MAX_SIDE, multiple=16),
    "height": _whole(16, MAX_SIDE, multiple=16),
    "num_inference_steps": _whole(1, MAX_STEPS),
    "true_cfg_scale": _number(0.0, MAX_CFG),
    "seed": _whole(0, MAX_SEED),
    "n": _whole(1, MAX_IMAGES),
    "loras": _read_loras,
    "output_format": _read_format,
    "metadata": _read_metadata,
    "webhook": _read_webhook,
    "image": _read_images,
    "mask": _read_mask,
    "strength": _read_strength,
    "style": _text(most=100),
}
_OPTIONAL = frozenset(_READERS) - {"model", "prompt"}
