"""The upstreams file: a strict reader for `deploy/upstreams.toml`.

    [upstreams.desk]
    kind = "ollama"
    base_url = "http://127.0.0.1:11434"

    [models.small]
    title = "Small"
    targets = [{ upstream = "desk", name = "qwen3:0.6b" }]

Every other key has a default, the one of its column (`generation/models/chat.py`). An upstream's password or key is
never written into this file: `credential_file` names one that holds it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils.translation import override

from generation.books.sampling import check_sampling
from generation.books.upstreams import check_takes, read_upstream
from generation.models import ChatModel, ChatTarget, Upstream

R = TypeVar("R", Upstream, ChatModel, ChatTarget)

# What may be written, and of which type; numbers with a fraction may be written without.
_UPSTREAM: dict[str, type] = {
    "kind": str,
    "base_url": str,
    **dict.fromkeys(("connect_s", "first_byte_s", "idle_s", "total_s", "loading_s"), float),
    "concurrency": int,
    "weight": int,
    "takes": list,
    "link_local": bool,
    "health_path": str,
    "enabled": bool,
}
_MODEL: dict[str, type] = {
    "title": str,
    "max_tokens": int,
    "max_prompt_chars": int,
    "sampling": dict,
    "enabled": bool,
}
_TARGET: dict[str, type] = {"upstream": str, "name": str, "context_tokens": int}
_WORDS = {str: "text", float: "a number", int: "a whole number", list: "a list", bool: "true or false", dict: "a table"}


class UpstreamsFileError(Exception):
    """What is wrong with an upstreams file: which file, whose entry, which key."""


@dataclass(frozen=True, slots=True)
class UpstreamEntry:
    """One upstream; `values` are columns, defaults filled in."""

    slug: str
    values: Mapping[str, Any]
    credential_file: str = ""

    def to_table(self) -> dict[str, Any]:
        """What is remembered of it, as plain JSON."""
        return {**self.values, "credential_file": self.credential_file}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One chat model; `targets` are columns of the table between, in the order of the file."""

    slug: str
    values: Mapping[str, Any]
    targets: tuple[Mapping[str, Any], ...] = ()
    tenants: tuple[str, ...] = ()

    def to_table(self) -> dict[str, Any]:
        """What is remembered of it, as plain JSON."""
        return {**self.values, "targets": [dict(target) for target in self.targets], "tenants": list(self.tenants)}


@dataclass(frozen=True, slots=True)
class UpstreamsFile:
    """All entries, in the file's order."""

    upstreams: tuple[UpstreamEntry, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    path: Path = field(default_factory=Path)


def read_upstreams_file(path: str | Path) -> UpstreamsFile:
    """Every entry of the file. Raises `UpstreamsFileError`: no such file, no TOML, unknown key, wrong value."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UpstreamsFileError(f"{path}: cannot be read ({error.strerror}); set STUDIO_UPSTREAMS") from error
    except UnicodeDecodeError as error:
        raise UpstreamsFileError(f"{path}: is no valid TOML: {error}") from error
    return parse_upstreams(text, path=Path(path))


def parse_upstreams(text: str, *, path: Path) -> UpstreamsFile:
    """Every entry of a file's text; `path` stands in what is raised, and credentials lie beside it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UpstreamsFileError(f"{path}: is no valid TOML: {error}") from error
    if unknown := sorted(tables.keys() - {"upstreams", "models"}):
        raise UpstreamsFileError(f"{path}: {unknown[0]}: entries stand under [upstreams.<name>] and [models.<name>]")
    reader = _Reader(str(path))
    upstreams = tuple(reader.upstream(slug, table) for slug, table in reader.tables(tables, "upstreams"))
    models = tuple(reader.model(slug, table) for slug, table in reader.tables(tables, "models"))
    return UpstreamsFile(upstreams, models, path)


class _Reader:
    """Reads one file; every complaint names file, entry and key."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._entry = ""

    def fail(self, reason: str) -> UpstreamsFileError:
        return UpstreamsFileError(": ".join(filter(None, (self._name, self._entry, reason))))

    def tables(self, tables: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
        found = tables.get(kind, {})
        if not isinstance(found, dict):
            raise self.fail(f"{kind}: must be a table of entries")
        for slug, table in found.items():
            if not isinstance(table, dict):
                raise self.fail(f"{kind}.{slug}: stands outside an entry, write it under a line [{kind}.<name>]")
        return list(found.items())

    def upstream(self, slug: str, table: Mapping[str, Any]) -> UpstreamEntry:
        self._entry = f"upstream {slug}"
        rest = dict(table)
        secret = self._typed("credential_file", rest.pop("credential_file", ""), str)
        row = Upstream(slug=slug, **self._values(rest, _UPSTREAM))
        self._check(row, exclude=("credential", "loaded"))
        values = {name: getattr(row, name) for name in _UPSTREAM}
        try:
            check_takes(row.takes)
            read_upstream({**values, "slug": slug}, credential="")
        except ValueError as error:
            raise self.fail(str(error)) from None
        return UpstreamEntry(slug, values, secret)

    def model(self, slug: str, table: Mapping[str, Any]) -> ModelEntry:
        self._entry = f"model {slug}"
        rest = dict(table)
        targets = self._typed("targets", rest.pop("targets", []), list)
        tenants = self._typed("tenants", rest.pop("tenants", []), list)
        row = ChatModel(slug=slug, **{"title": slug, **self._values(rest, _MODEL)})
        self._check(row, exclude=("loaded",))
        try:
            check_sampling(row.sampling)
        except ValueError as error:
            raise self.fail(f"sampling: {error}") from None
        return ModelEntry(
            slug,
            {name: getattr(row, name) for name in _MODEL},
            tuple(self._target(target) for target in targets),
            tuple(self._tenant(tenant) for tenant in tenants),
        )

    def _target(self, table: object) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self.fail("targets: each must be a table { upstream = …, name = … }")
        values = self._values(table, _TARGET)
        if not {"upstream", "name"} <= values.keys():
            raise self.fail("targets: each needs upstream and name")
        row = ChatTarget(name=values["name"], context_tokens=values.get("context_tokens"))
        self._check(row, exclude=("model", "upstream"))
        return {"upstream": values["upstream"], "name": row.name, "context_tokens": row.context_tokens}

    def _tenant(self, value: object) -> str:
        try:
            return str(UUID(value)) if isinstance(value, str) else self._wrong_tenant(value)
        except ValueError:
            return self._wrong_tenant(value)

    def _wrong_tenant(self, value: object) -> str:
        raise self.fail(f"tenants: must be ids of tenants, got {value!r}")

    def _values(self, table: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
        if unknown := sorted(table.keys() - known.keys()):
            raise self.fail(f"{unknown[0]}: unknown key; there are {', '.join(known)}")
        return {name: self._typed(name, value, known[name]) for name, value in table.items()}

    def _typed(self, name: str, value: Any, kind: type) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fail(f"{name}: must be {_WORDS[kind]}, got {value!r}")
        return value

    def _check(self, row: R, *, exclude: tuple[str, ...]) -> None:
        try:
            with override("en"):
                row.clean_fields(exclude=set(exclude))
        except ValidationError as error:
            name, words = next(iter(error.message_dict.items()))
            raise self.fail(f"{name}: {' '.join(words)}") from None
