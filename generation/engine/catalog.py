"""Model entries: a strict reader for `deploy/models.toml`. Imports no torch: web processes use it.

A file holds one table per model, named by its slug; `family` and `path` are required, everything else has a default:

    [my-model]
    family = "qwen-image"
    path = "/models/Qwen-Image-2512"
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.engine.entry import EntryReader, TurboLora
from generation.engine.errors import CatalogError
from generation.engine.families import FAMILIES, LENGTH_BUCKETS
from generation.engine.request import MAX_LORAS

PROJECT_ROOT = Path(__file__).resolve().parents[2]  # relative paths in entries start here
OFFLOADS = ("none", "model", "group", "sequential")
LANES = ("blue", "green")

_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_TENANT = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,99}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SILENT = ("lane", "tenants", "read_on", "max_loras", "max_lora_rank", "lora_cache_bytes", "compile")
_NONE = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model that staff offer. Sizes in pixels, memory in bytes, `cost_ms` in milliseconds per default picture.

    `sigmas`, where given, are the noise levels themselves (descending from at most 1, the closing 0 left out): no shift
    is applied to them. Otherwise `scheduler` overrides the checkpoint's own scheduler config. A turbo LoRA without its
    schedule draws wrong pictures, so an entry with `turbo_lora` must name one of the two.

    `lane` limits a model to the blue or the green lane; `tenants` (ids) to those tenants, empty means all. `source` and
    `read_on` say where the entry's facts were read, and when.
    """

    slug: str
    family: str
    path: str
    title: str = ""
    revision: str | None = None
    pool: str = "default"
    lane: str = ""
    tenants: tuple[str, ...] = ()
    turbo_lora: TurboLora | None = None
    scheduler: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sigmas: tuple[float, ...] = ()
    default_steps: int = 0  # 0 in the entry: len(sigmas), else 4 with a turbo LoRA, else 50
    min_steps: int = 1
    max_steps: int = 50
    true_cfg_scale: float = 0.0  # 0 in the entry: 1.0 with a turbo LoRA, else 4.0
    default_negative_prompt: str = ""
    size_multiple: int = 0  # 0 in the entry: the family's
    default_width: int = 1024
    default_height: int = 1024
    max_width: int = 2048
    max_height: int = 2048
    sizes: tuple[tuple[int, int], ...] = ()
    max_prompt_tokens: int = 512
    length_buckets: tuple[int, ...] = LENGTH_BUCKETS  # left out in the entry: the family's
    tasks: tuple[str, ...] = ()  # left out in the entry: the family's
    memory_bytes: int = 0
    offload: str = "none"
    compile: bool = False
    batch_max: int = 1
    max_loras: int = 4
    max_lora_rank: int = 128
    lora_cache_bytes: int = 2_000_000_000
    cost_ms: int = 4000
    licence: str = ""
    description: str = ""
    source: str = ""
    read_on: str = ""
    enabled: bool = True

    @classmethod
    def from_table(cls, slug: str, table: Mapping[str, Any], *, source_name: str = "model entry") -> ModelSpec:
        """Read one entry. Raises CatalogError naming `source_name`, the model and the key."""
        return _Reader(source_name=source_name, slug=slug).read(table)

    def to_table(self) -> dict[str, Any]:
        """The entry as plain JSON-able values, defaults filled in; `from_table(slug, …)` gives the same spec back."""
        table = {key: _plain(value) for key, value in dataclasses.asdict(self).items() if key != "slug"}
        # Left out where they say nothing: a release that does not know them yet reads the same entries.
        usual = {field.name: _plain(field.default) for field in dataclasses.fields(self) if field.name in _SILENT}
        usual["tasks"] = _plain(FAMILIES[self.family].tasks)
        return {key: value for key, value in table.items() if value is not None and usual.get(key, _NONE) != value}

    @property
    def folder(self) -> Path | None:
        """The checkpoint's folder, or None when `path` is a hub id (`owner/name` that is no folder of the project)."""
        here = (PROJECT_ROOT / Path(self.path).expanduser()).absolute()
        if is_hub_id(self.path) and not here.exists():
            return None
        return here


def is_hub_id(text: str) -> bool:
    """Whether `text` reads as `owner/name`."""
    return _HUB_ID.fullmatch(text) is not None


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


class _Reader(EntryReader):
    """Reads one table; every complaint names file, model and key."""

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
        if values["family"] not in FAMILIES:
            self.fail("family", f"{values['family']!r} is unknown, allowed: {', '.join(FAMILIES)}")
        values.setdefault("length_buckets", FAMILIES[values["family"]].length_buckets)
        values.setdefault("tasks", FAMILIES[values["family"]].tasks)
        spec = ModelSpec(slug=self.slug, **values)
        spec = dataclasses.replace(spec, **_derived(spec))
        self.check(spec)
        return spec

    def check(self, spec: ModelSpec) -> None:
        """Bounds that need more than one value's type."""
        choices: list[tuple[str, str, Collection[str]]] = [("offload", spec.offload, OFFLOADS)]
        choices += [("tasks", task, FAMILIES[spec.family].tasks) for task in spec.tasks]
        choices += [("lane", spec.lane, LANES)] if spec.lane else []
        for key, value, allowed in choices:
            if value not in allowed:
                self.fail(key, f"{value!r} is unknown, allowed: {', '.join(allowed)}")
        for key, low, high in _BOUNDS:
            if not low <= getattr(spec, key) <= high:
                self.fail(key, f"{getattr(spec, key)} is out of range, {low} to {high}")
        if not spec.path:
            self.fail("path", "is empty, give a folder or a hub id")
        self.check_names(spec)
        self.check_sizes(spec)
        self.check_schedule(spec)
        if list(spec.length_buckets) != sorted(set(spec.length_buckets)):
            self.fail("length_buckets", "must ascend")
        if spec.length_buckets and FAMILIES[spec.family].exact_lengths:
            self.fail("length_buckets", f"must be empty: family {spec.family} needs exact text lengths")
        if spec.length_buckets and spec.length_buckets[-1] < spec.max_prompt_tokens:
            self.fail("length_buckets", f"must reach max_prompt_tokens ({spec.max_prompt_tokens})")

    def check_names(self, spec: ModelSpec) -> None:
        """Revisions, tenants and tasks: text that must have a form, or stand once."""
        revisions = [("revision", spec.revision)]
        revisions += [("turbo_lora.revision", spec.turbo_lora.revision)] if spec.turbo_lora else []
        for key, revision in revisions:
            if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
                self.fail(key, f"{revision!r} is no commit, tag or branch")
        for tenant in spec.tenants:
            if not _TENANT.fullmatch(tenant):
                self.fail("tenants", f"{tenant!r} is no tenant's id, which the admin shows")
        for key, values in (("tenants", spec.tenants), ("tasks", spec.tasks)):
            if len(set(values)) < len(values):
                self.fail(key, "names one twice")
        if not spec.tasks:
            self.fail("tasks", f"is empty, allowed: {', '.join(FAMILIES[spec.family].tasks)}")

    def check_sizes(self, spec: ModelSpec) -> None:
        least = FAMILIES[spec.family].size_multiple
        if spec.size_multiple % least:
            self.fail("size_multiple", f"{spec.size_multiple} is not a multiple of {least}, as {spec.family} needs it")
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
        ("family", "path", "title", "revision", "pool", "lane", "default_negative_prompt", "offload", "licence",
         "description", "source"), "text"),
    **dict.fromkeys(
        ("default_steps", "min_steps", "max_steps", "size_multiple", "default_width", "default_height", "max_width",
         "max_height", "max_prompt_tokens", "memory_bytes", "batch_max", "cost_ms", "max_loras", "max_lora_rank",
         "lora_cache_bytes"), "whole"),
    "turbo_lora": "turbo", "scheduler": "overrides", "sigmas": "numbers", "true_cfg_scale": "number", "sizes": "pairs",
    "length_buckets": "wholes", "tasks": "texts", "tenants": "texts", "read_on": "day", "enabled": "flag",
    "compile": "flag",
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
        "size_multiple": spec.size_multiple or FAMILIES[spec.family].size_multiple,
        **fixed,
    }


def _plain(value: Any) -> Any:
    """Tuples as lists, so that the entry survives JSON and TOML."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, Mapping) else value
