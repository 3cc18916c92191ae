"""The upstreams file, written into the tables. The database is the truth; nothing is ever deleted.

A column follows the file only where the file's own word has changed since it was loaded last (`loaded` remembers it):
what staff change in the admin outlives the next load. A credential is read from its file each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import Tenant
from accounts.tenancy import in_tenant
from generation.books.upstreamfile import (
    ModelEntry,
    UpstreamEntry,
    UpstreamsFile,
    UpstreamsFileError,
    read_upstreams_file,
)
from generation.books.upstreams import open_credential, read_upstream, seal_credential
from generation.models import ChatGrant, ChatModel, ChatTarget, Upstream


@dataclass(slots=True)
class Loaded:
    """What a file says that the tables do not, of one kind of entry: slugs, and for changed ones the keys.

    `missing` are in the tables only; they stay.
    """

    added: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def note(self, slug: str, before: Mapping[str, Any] | None, keys: list[str]) -> None:
        """Put one entry where it belongs."""
        if before is None:
            self.added.append(slug)
        elif keys:
            self.changed[slug] = keys
        else:
            self.unchanged.append(slug)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.added and not self.changed


def load_upstreams(path: str | Path, *, apply: bool) -> dict[str, Loaded]:
    """Compare a file with the tables and, with `apply`, write it there: by `upstream` and `model`.

    Raises `UpstreamsFileError`; then nothing is written.
    """
    return write_upstreams(read_upstreams_file(path), apply=apply)


def write_upstreams(file: UpstreamsFile, *, apply: bool) -> dict[str, Loaded]:
    """The same for a file that has been read."""
    with transaction.atomic():
        return {"upstream": _load_upstreams(file, apply=apply), "model": _load_models(file, apply=apply)}


def _load_upstreams(file: UpstreamsFile, *, apply: bool) -> Loaded:
    found = Loaded()
    rows = {row.slug: row for row in Upstream.objects.select_for_update()}
    for entry in file.upstreams:
        row = rows.get(entry.slug)
        credential = _read_credential(file, entry)
        keys = _changed(None if row is None else row.loaded, entry.to_table())
        if row is not None and credential is not None and credential != open_credential(vars(row)):
            keys.append("credential")
        found.note(entry.slug, None if row is None else row.loaded, keys)
        if apply and (row is None or keys):
            _write_upstream(row or Upstream(slug=entry.slug), entry, credential)
    found.missing = sorted(set(rows) - {entry.slug for entry in file.upstreams})
    return found


def _changed(before: Mapping[str, Any] | None, table: Mapping[str, Any]) -> list[str]:
    return sorted(name for name, value in table.items() if before is None or before.get(name, _NONE) != value)


_NONE = object()


def _read_credential(file: UpstreamsFile, entry: UpstreamEntry) -> str | None:
    """What the entry's file holds; None where it names none, and the column is staff's."""
    if not entry.credential_file:
        return None
    path = file.path.parent / entry.credential_file
    try:
        text = path.read_text(encoding="utf-8").strip()
        read_upstream({**entry.values, "slug": entry.slug}, credential=text)
    except (OSError, UnicodeDecodeError) as error:
        raise UpstreamsFileError(f"{file.path}: upstream {entry.slug}: credential_file: {error}") from None
    except ValueError as error:
        raise UpstreamsFileError(f"{path}: {error}") from None
    return text


def _write_upstream(row: Upstream, entry: UpstreamEntry, credential: str | None) -> None:
    for name in _changed(row.loaded or None, entry.values):
        setattr(row, name, entry.values[name])
    if credential is not None and credential != open_credential(vars(row)):
        row.credential = seal_credential(credential)
    row.loaded = entry.to_table()
    row.save()


def _load_models(file: UpstreamsFile, *, apply: bool) -> Loaded:
    found = Loaded()
    rows = {row.slug: row for row in ChatModel.objects.select_for_update()}
    upstreams = {*Upstream.objects.values_list("slug", flat=True), *(entry.slug for entry in file.upstreams)}
    for position, entry in enumerate(file.models):
        for target in entry.targets:
            if target["upstream"] not in upstreams:
                raise UpstreamsFileError(
                    f"{file.path}: model {entry.slug}: targets: there is no upstream {target['upstream']!r}"
                )
        row = rows.get(entry.slug)
        keys = _changed(None if row is None else row.loaded, entry.to_table())
        found.note(entry.slug, None if row is None else row.loaded, keys)
        if apply and (row is None or keys):
            _write_model(row or ChatModel(slug=entry.slug, position=position), entry, file)
    found.missing = sorted(set(rows) - {entry.slug for entry in file.models})
    return found


def _write_model(row: ChatModel, entry: ModelEntry, file: UpstreamsFile) -> None:
    before: Mapping[str, Any] = row.loaded
    for name in _changed(before or None, entry.values):
        setattr(row, name, entry.values[name])
    whose = before.get("tenants", []) != list(entry.tenants)
    if whose:
        row.public = not entry.tenants
    row.loaded = entry.to_table()
    row.save()
    if before.get("targets") != row.loaded["targets"]:
        for target in entry.targets:
            ChatTarget.objects.update_or_create(
                model=row,
                upstream_id=target["upstream"],
                defaults={"name": target["name"], "context_tokens": target["context_tokens"]},
            )
    for tenant in map(UUID, entry.tenants if whose else ()):
        with in_tenant(tenant):
            if not Tenant.objects.filter(pk=tenant).exists():
                raise UpstreamsFileError(f"{file.path}: model {row.slug}: tenants: there is no tenant {tenant}")
            ChatGrant.objects.get_or_create(model=row)
