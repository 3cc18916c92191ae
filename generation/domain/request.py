"""What a request may say: strict reading, then the model's defaults and the plan's limits."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from accounts.domain.limits import PlanLimits
from accounts.errors import InvalidRequest
from generation.engine.catalog import ModelSpec
from generation.engine.request import MAX_CFG, MAX_LORA_SCALE, MAX_PROMPT_CHARS, MAX_SEED, MAX_SIDE, MAX_STEPS
from generation.enums import OutputFormat, Task
from generation.errors import WebhookNotFound

MAX_IMAGES = 10
MAX_LORAS = 4
MAX_METADATA_CHARS = 4096
_RANDOM_SEEDS = 2**32  # every JavaScript client holds these exactly
_BYTES_PER_TOKEN = 3  # of a byte-level BPE, about: only sorts prompts into likely buckets, the worker counts


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """A style adapter by its name on offer, and its strength."""

    name: str
    scale: float = 1.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest:
    """A request with everything decided: the columns of its row."""

    model: str
    pool: str
    task: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    seed: int
    n: int
    true_cfg_scale: float
    guided: bool  # true CFG runs the transformer twice
    params: dict[str, Any]
    batch_key: str


MAX_ERRORS = 20


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


def resolve(request: GenerationRequest, spec: ModelSpec, plan: PlanLimits) -> ResolvedRequest:
    """Fill in the model's defaults and hold the request to the model's and the plan's limits.

    Raises `InvalidRequest` naming field and bound, and `WebhookNotFound`.
    """
    width = spec.default_width if request.width is None else request.width
    height = spec.default_height if request.height is None else request.height
    steps = spec.default_steps if request.num_inference_steps is None else request.num_inference_steps
    scale = spec.true_cfg_scale if request.true_cfg_scale is None else request.true_cfg_scale
    errors: dict[str, list[str]] = {}
    for name, value, most in (("width", width, spec.max_width), ("height", height, spec.max_height)):
        if value % spec.size_multiple:
            errors[name] = [f"must be a multiple of {spec.size_multiple} for this model, got {value}"]
        elif value > most:
            errors[name] = [f"too large for this model, max {most}, got {value}"]
    if not errors and width * height > plan.max_pixels:
        errors["width"] = [f"{width} × {height} is over your limit of {plan.max_pixels} pixels, choose a smaller size"]
    if not spec.min_steps <= steps <= spec.max_steps:
        bounds = f"must be {spec.min_steps} to {spec.max_steps} for this model"
        errors["num_inference_steps"] = [f"{bounds}, got {steps}"]
    elif steps > plan.max_steps:
        errors["num_inference_steps"] = [f"over your limit of {plan.max_steps} steps, got {steps}"]
    if request.n > plan.max_images:
        errors["n"] = [f"over your limit of {plan.max_images} images per request, got {request.n}"]
    if request.loras:
        errors["loras"] = [f"no LoRA named {request.loras[0].name!r} is on offer for this model"]
    if request.seed is not None and request.seed > MAX_SEED - (request.n - 1):
        errors["seed"] = [f"too large for {request.n} images, max {MAX_SEED - request.n + 1}"]
    raise_for(errors)
    if request.webhook is not None:
        raise WebhookNotFound

    negative = request.negative_prompt or spec.default_negative_prompt
    guided = scale > 1 and negative != ""
    return ResolvedRequest(
        model=spec.slug,
        pool=spec.pool,
        task=Task.TEXT_TO_IMAGE.value,
        prompt=request.prompt,
        negative_prompt=negative,
        width=width,
        height=height,
        steps=steps,
        seed=secrets.randbelow(_RANDOM_SEEDS) if request.seed is None else request.seed,
        n=request.n,
        true_cfg_scale=scale,
        guided=guided,
        params={
            "true_cfg_scale": scale,
            "guided": guided,
            "loras": [],
            "output_format": request.output_format,
            **({} if request.output_compression is None else {"output_compression": request.output_compression}),
            "metadata": dict(request.metadata),
        },
        batch_key=_make_batch_key(
            model=spec.slug,
            task=Task.TEXT_TO_IMAGE.value,
            size=[width, height],
            steps=steps,
            guidance=scale if guided else None,
            loras=[],
            buckets=[
                guess_bucket(request.prompt, spec),
                guess_bucket(negative, spec) if guided else None,
            ],
        ),
    )


def guess_bucket(prompt: str, spec: ModelSpec) -> int:
    """The text-length bucket that a prompt likely falls into. The web has no tokenizer; the worker knows better."""
    tokens = min(spec.max_prompt_tokens, guess_tokens(prompt))
    return next((rung for rung in spec.length_buckets if tokens <= rung), tokens)


def guess_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return max(1, -(-len(text.encode()) // _BYTES_PER_TOKEN))


def hash_request(request: GenerationRequest) -> str:
    """A SHA-256 over all fields: what "the same body" means where no bytes of a body are at hand."""
    values = {item.name: getattr(request, item.name) for item in fields(request)}
    values["loras"] = [[lora.name, lora.scale] for lora in request.loras]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def raise_for(errors: Mapping[str, list[str]]) -> None:
    """Raise one `InvalidRequest` for all wrong fields, or nothing."""
    if not errors:
        return
    message = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in errors.items())
    raise InvalidRequest(message[:1000], field=next(iter(errors)), fields=dict(errors))


def _make_batch_key(**parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


def _read_loras(value: object) -> tuple[LoraChoice, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"must be a list of {{name, scale}}, got {_kind(value)}")
    if len(value) > MAX_LORAS:
        raise _Wrong(f"has {len(value)} entries, max {MAX_LORAS}")
    found = []
    for entry in value:
        if not isinstance(entry, Mapping) or not {"name"} <= set(entry) <= {"name", "scale"}:
            raise _Wrong("every entry must be {name, scale}")
        scale = _number(-MAX_LORA_SCALE, MAX_LORA_SCALE)(entry.get("scale", 1.0))
        found.append(LoraChoice(name=_check_text(entry["name"], most=100), scale=scale))
    if len({lora.name for lora in found}) < len(found):
        raise _Wrong("names the same LoRA twice")
    return tuple(found)


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
}
_OPTIONAL = frozenset(_READERS) - {"model", "prompt"}
