"""Model entries: a strict reader for `deploy/models.toml`. Imports no torch: web processes use it.

A file holds one table per model, named by its slug; `family` and `path` are required, everything else has a default:

    [my-model]
    family = "qwen-image"
    path = "/models/Qwen-Image-2512"
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.engine.errors import CatalogError
from generation.engine.request import MAX_LORAS

PROJECT_ROOT = Path(__file__).resolve().parents[2]  # relative paths in entries start here
FAMILIES = ("qwen-image",)
TASKS = ("text-to-image",)
OFFLOADS = ("none", "model", "group", "sequential")
LENGTH_BUCKETS = (64, 128, 256, 512, 1024)

_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# FlowMatchEulerDiscreteScheduler's arguments; TOML has no null: 0.0 or false switches shift_terminal off.
_SCHEDULER_KEYS: dict[str, tuple[type, ...]] = {
    "num_train_timesteps": (int,),
    "shift": (float, int),
    "use_dynamic_shifting": (bool,),
    "base_shift": (float, int),
    "max_shift": (float, int),
    "base_image_seq_len": (int,),
    "max_image_seq_len": (int,),
    "invert_sigmas": (bool,),
    "shift_terminal": (float, int, bool),
    "use_karras_sigmas": (bool,),
    "use_exponential_sigmas": (bool,),
    "use_beta_sigmas": (bool,),
    "time_shift_type": (str,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TurboLora:
    """A few-step LoRA, fused into the transformer at load: a safetensors file (`owner/name:file` on the hub)."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model that staff offer. Sizes in pixels, memory in bytes, `cost_ms` in milliseconds per default picture.

    `sigmas`, where given, are the noise levels themselves (descending from at most 1, the closing 0 left out): no shift
    is applied to them. Otherwise `scheduler` overrides the checkpoint's own scheduler config. A turbo LoRA without its
    schedule draws wrong pictures, so an entry with `turbo_lora` must name one of the two.
    """

    slug: str
    family: str
    path: str
    title: str = ""
    revision: str | None = None
    pool: str = "default"
    turbo_lora: TurboLora | None = None
    scheduler: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sigmas: tuple[float, ...] = ()
    default_steps: int = 0  # 0 in the entry: len(sigmas), else 4 with a turbo LoRA, else 50
    min_steps: int = 1
    max_steps: int = 50
    true_cfg_scale: float = 0.0  # 0 in the entry: 1.0 with a turbo LoRA, else 4.0
    default_negative_prompt: str = ""
    size_multiple: int = 16
    default_width: int = 1024
    default_height: int = 1024
    max_width: int = 2048
    max_height: int = 2048
    sizes: tuple[tuple[int, int], ...] = ()
    max_prompt_tokens: int = 512
    length_buckets: tuple[int, ...] = LENGTH_BUCKETS
    tasks: tuple[str, ...] = TASKS
    memory_bytes: int = 0
    offload: str = "none"
    batch_max: int = 1
    max_loras: int = 4
    max_lora_rank: int = 128
    lora_cache_bytes: int = 2_000_000_000
    cost_ms: int = 4000
    licence: str = ""
    description: str = ""
    source: str = ""
    enabled: bool = True

    @classmethod
    def from_table(cls, slug: str, table: Mapping[str, Any], *, source_name: str = "model entry") -> ModelSpec:
        """Read one entry. Raises CatalogError naming `source_name`, the model and the key."""
        return _Reader(source_name=source_name, slug=slug).read(table)

    def to_table(self) -> dict[str, Any]:
        """The entry as plain JSON-able values, defaults filled in; `from_table(slug, …)` gives the same spec back."""
        table = {key: _plain(value) for key, value in dataclasses.asdict(self).items() if key != "slug"}
        return {key: value for key, value in table.items() if value is not None}

    @property
    def folder(self) -> Path | None:
        """The checkpoint's folder, or None when `path` is a hub id (`owner/name` that is no folder of the project)."""
        here = (PROJECT_ROOT / Path(self.path).expanduser()).absolute()
        if _HUB_ID.fullmatch(self.path) and not here.exists():
            return None
        return here


def read_catalog(path: str | Path) -> list[ModelSpec]:
    """Every model of a TOML file, in the file's order, disabled ones included.

    Raises CatalogError naming file, model and key: no such file, no TOML, unknown key, wrong type, out of range.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(
            f"{path}: cannot be read ({error.strerror}); set STUDIO_MODELS to a file of models"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: is no valid TOML: {error}") from error
    for slug, table in tables.items():
        if not isinstance(table, dict):
            raise CatalogError(f"{path}: {slug}: stands outside a model's table, write it under a line [model-name]")
    return [ModelSpec.from_table(slug, table, source_name=str(path)) for slug, table in tables.items()]


class _Reader:
    """Reads one table; every complaint names file, model and key."""

    def __init__(self, *, source_name: str, slug: str) -> None:
        self.where = f"{source_name}: model {slug}"
        self.slug = slug

    def read(self, table: Mapping[str, Any]) -> ModelSpec:
        if not _SLUG.fullmatch(self.slug):
            self.fail("slug", "must be 1 to 63 of a-z, 0-9, dot and hyphen")
        known = {field.name for field in dataclasses.fields(ModelSpec)} - {"slug"}
        for key in table:
            if key not in known:
                self.fail(key, f"is unknown, the keys are {', '.join(sorted(known))}")
        for key in ("family", "path"):
            if key not in table:
                self.fail(key, "is missing")
        values = {key: getattr(self, _READERS[key])(key, value) for key, value in table.items()}
        spec = ModelSpec(slug=self.slug, **values)
        spec = dataclasses.replace(spec, **_derived(spec))
        self.check(spec)
        return spec

    def fail(self, key: str, reason: str) -> None:
        raise CatalogError(f"{self.where}: {key}: {reason}")

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            self.fail(key, f"must be text, got {value!r}")
        return str(value)

    def flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            self.fail(key, f"must be true or false, got {value!r}")
        return bool(value)

    def whole(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(key, f"must be a whole number of at least 0, got {value!r}")
        return int(value)

    def number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.fail(key, f"must be a finite number, got {value!r}")
        return float(value)

    def many(self, key: str, value: Any, read: Callable[[str, Any], Any]) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            self.fail(key, f"must be a list, got {value!r}")
        return tuple(read(key, item) for item in value)

    def texts(self, key: str, value: object) -> tuple[str, ...]:
        return self.many(key, value, self.text)

    def wholes(self, key: str, value: object) -> tuple[int, ...]:
        return self.many(key, value, self.whole)

    def numbers(self, key: str, value: object) -> tuple[float, ...]:
        return self.many(key, value, self.number)

    def pairs(self, key: str, value: object) -> tuple[tuple[int, ...], ...]:
        pairs = self.many(key, value, self.wholes)
        if any(len(pair) != 2 for pair in pairs):
            self.fail(key, "must be a list of [width, height]")
        return pairs

    def turbo(self, key: str, value: Any) -> TurboLora:
        if not isinstance(value, Mapping) or not {"path"} <= set(value) <= {"path", "scale"}:
            self.fail(key, f"must be {{path, scale}}, got {value!r}")
        return TurboLora(
            path=self.text(f"{key}.path", value["path"]), scale=self.number(f"{key}.scale", value.get("scale", 1.0))
        )

    def overrides(self, key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.fail(key, f"must be a table, got {value!r}")
        for name, item in value.items():
            if name not in _SCHEDULER_KEYS:
                self.fail(f"{key}.{name}", f"is unknown, the keys are {', '.join(_SCHEDULER_KEYS)}")
            kinds = _SCHEDULER_KEYS[name]
            if not isinstance(item, kinds) or (isinstance(item, bool) and bool not in kinds):
                self.fail(f"{key}.{name}", f"must be {kinds[0].__name__}, got {item!r}")
        return dict(value)

    def check(self, spec: ModelSpec) -> None:
        """Bounds that need more than one value's type."""
        choices = [("family", spec.family, FAMILIES), ("offload", spec.offload, OFFLOADS)]
        choices += [("tasks", task, TASKS) for task in spec.tasks]
        for key, value, allowed in choices:
            if value not in allowed:
                self.fail(key, f"{value!r} is unknown, allowed: {', '.join(allowed)}")
        for key, low, high in _BOUNDS:
            if not low <= getattr(spec, key) <= high:
                self.fail(key, f"{getattr(spec, key)} is out of range, {low} to {high}")
        if not spec.path:
            self.fail("path", "is empty, give a folder or a hub id")
        self.check_sizes(spec)
        self.check_schedule(spec)
        if list(spec.length_buckets) != sorted(set(spec.length_buckets)):
            self.fail("length_buckets", "must ascend")
        if spec.length_buckets and spec.length_buckets[-1] < spec.max_prompt_tokens:
            self.fail("length_buckets", f"must reach max_prompt_tokens ({spec.max_prompt_tokens})")

    def check_sizes(self, spec: ModelSpec) -> None:
        if spec.size_multiple % 16:
            self.fail("size_multiple", f"{spec.size_multiple} is not a multiple of 16")
        for width, height in ((spec.default_width, spec.default_height), *spec.sizes):
            if width % spec.size_multiple or height % spec.size_multiple or not width or not height:
                self.fail("sizes", f"{width} × {height} is not a multiple of {spec.size_multiple}")
            if width > spec.max_width or height > spec.max_height:
                self.fail("sizes", f"{width} × {height} is over {spec.max_width} × {spec.max_height}")

    def check_schedule(self, spec: ModelSpec) -> None:
        if spec.sigmas:
            ordered = list(spec.sigmas) == sorted(set(spec.sigmas), reverse=True)
            if not ordered or spec.sigmas[0] > 1 or spec.sigmas[-1] <= 0:
                self.fail("sigmas", "must descend, from at most 1 to above 0 (the closing 0 is added)")
            if not spec.min_steps == spec.max_steps == spec.default_steps == len(spec.sigmas):
                self.fail("sigmas", f"fixes the steps: min, max and default must be {len(spec.sigmas)}")
            if spec.scheduler:
                self.fail("sigmas", "and scheduler exclude each other, give one")
        if spec.turbo_lora and not spec.sigmas and not spec.scheduler:
            self.fail("turbo_lora", "needs its schedule: give scheduler or sigmas as its model card says")
        if not spec.min_steps <= spec.default_steps <= spec.max_steps:
            self.fail("default_steps", f"{spec.default_steps} is not within {spec.min_steps} to {spec.max_steps}")


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("min_steps", 1, 100),
    ("max_steps", 1, 100),
    ("true_cfg_scale", 0.0, 30.0),
    ("size_multiple", 16, 128),
    ("max_width", 16, 4096),
    ("max_height", 16, 4096),
    ("max_prompt_tokens", 1, 1024),
    ("batch_max", 1, 64),
    ("max_loras", 0, MAX_LORAS),
    ("max_lora_rank", 1, 1024),
    ("lora_cache_bytes", 0, 10**12),
    ("cost_ms", 1, 3_600_000),
)

_READERS: dict[str, str] = {
    **dict.fromkeys(
        ("family", "path", "title", "revision", "pool", "default_negative_prompt", "offload", "licence", "description",
         "source"), "text"),
    **dict.fromkeys(
        ("default_steps", "min_steps", "max_steps", "size_multiple", "default_width", "default_height", "max_width",
         "max_height", "max_prompt_tokens", "memory_bytes", "batch_max", "cost_ms", "max_loras", "max_lora_rank",
         "lora_cache_bytes"), "whole"),
    "turbo_lora": "turbo", "scheduler": "overrides", "sigmas": "numbers", "true_cfg_scale": "number", "sizes": "pairs",
    "length_buckets": "wholes", "tasks": "texts", "enabled": "flag",
}  # fmt: skip


def _derived(spec: ModelSpec) -> dict[str, Any]:
    """What an entry leaves out: title, steps and guidance by the kind of model."""
    turbo = spec.turbo_lora is not None
    steps = spec.default_steps or len(spec.sigmas) or (4 if turbo else 50)
    fixed = (
        {"min_steps": steps, "max_steps": steps} if spec.sigmas and (spec.min_steps, spec.max_steps) == (1, 50) else {}
    )
    return {
        "title": spec.title or spec.slug,
        "default_steps": steps,
        "true_cfg_scale": spec.true_cfg_scale or (1.0 if turbo else 4.0),
        **fixed,
    }


def _plain(value: Any) -> Any:
    """Tuples as lists, so that the entry survives JSON and TOML."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
