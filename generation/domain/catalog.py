"""The models on offer. The database is the truth; the models file is written into it on demand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.domain.callers import Caller
from accounts.models import Tenant
from accounts.tenancy import in_tenant
from generation.engine.catalog import ModelSpec, read_catalog
from generation.engine.errors import CatalogError
from generation.errors import ModelNotFound
from generation.models import Model, ModelGrant, Pool


@dataclass(frozen=True, slots=True)
class CatalogDiff:
    """What a models file says that the database does not: slugs, and for changed ones the keys that differ.

    `missing` are in the database only; they stay, and those in `disabled` were switched off.
    """

    added: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]
    unchanged: tuple[str, ...]
    missing: tuple[str, ...]
    disabled: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.added and not self.changed and not self.disabled


def visible_models(caller: Caller) -> list[Model]:
    """The models that the caller's tenant may use, in their order. Runs in the tenant's scope."""
    return list(_visible(caller))


def find_model(slug: str, caller: Caller) -> Model:
    """One of them; raises `ModelNotFound` for any other."""
    model = None if "\x00" in slug else _visible(caller).filter(slug=slug).first()
    if model is None:
        raise ModelNotFound(f"no model named {slug[:60]!r}; GET /api/v1/models lists yours", field="model")
    return model


def first_model(caller: Caller, *tasks: str) -> Model:
    """What is drawn with where nobody names a model: the first that has one of the tasks, the first task that any has.

    Raises `ModelNotFound`.
    """
    offered = [(model, tasks_of(model)) for model in _visible(caller)]
    found = next((model for task in tasks for model, has in offered if task in has), None)
    if found is None:
        raise ModelNotFound(f"there is no model for {tasks[0]} here; GET /v1/models lists yours", field="model")
    return found


def _visible(caller: Caller) -> QuerySet[Model]:
    granted = ModelGrant.objects.filter(tenant_id=caller.tenant, model=OuterRef("slug"))
    return Model.objects.filter(Q(public=True) | Q(Exists(granted)), enabled=True).filter(in_lane(settings.STUDIO_LANE))


def in_lane(lane: str) -> Q:
    """Models that the lane serves: those that name it, and those that name none."""
    return Q(spec__lane__isnull=True) | Q(spec__lane__in=["", lane])


def tasks_of(model: Model) -> tuple[str, ...]:
    """What a model draws; nothing where staff broke its entry."""
    try:
        return tuple(spec_of(model).tasks)
    except CatalogError:
        return ()


def spec_of(model: Model) -> ModelSpec:
    """The entry of a model; raises `CatalogError` for one that staff broke."""
    return ModelSpec.from_table(model.slug, model.spec, source_name="database")


def load_models(path: str | Path, *, apply: bool, disable_missing: bool = False) -> CatalogDiff:
    """Compare a models file with the database and, with `apply`, write it there. Never deletes.

    With `disable_missing` the models that the file does not name are switched off.

    Raises `CatalogError` naming file, model and key; then nothing is written. Whether a model is switched on, and whose
    it is, follows the file only where the file's own word has changed: a switch in the admin outlives the next load.
    """
    specs = read_catalog(path)
    with transaction.atomic():
        rows = {row.slug: row for row in Model.objects.select_for_update()}
        changed = {spec.slug: _changed_keys(rows[spec.slug], spec) for spec in specs if spec.slug in rows}
        missing = tuple(sorted(set(rows) - {spec.slug for spec in specs}))
        disabled = tuple(slug for slug in missing if disable_missing and rows[slug].enabled)
        if apply:
            for position, spec in enumerate(specs):
                _write(rows.get(spec.slug), spec, position=position)
            Model.objects.filter(slug__in=disabled).update(enabled=False)
    return CatalogDiff(
        added=tuple(spec.slug for spec in specs if spec.slug not in rows),
        changed={slug: keys for slug, keys in changed.items() if keys},
        unchanged=tuple(slug for slug, keys in changed.items() if not keys),
        missing=missing,
        disabled=disabled,
    )


def _changed_keys(row: Model, spec: ModelSpec) -> tuple[str, ...]:
    new = spec.to_table()
    return tuple(sorted(key for key in {*new, *row.spec} if new.get(key) != row.spec.get(key)))


def _write(row: Model | None, spec: ModelSpec, *, position: int) -> None:
    table = spec.to_table()
    before = {} if row is None else row.spec
    if row is None:
        row = Model(slug=spec.slug, position=position, enabled=spec.enabled)
    elif before.get("enabled") != table["enabled"]:
        row.enabled = spec.enabled
    row.title, row.pool, row.spec = spec.title, spec.pool, table
    whose = before.get("tenants", []) != table.get("tenants", [])
    if whose:
        row.public = not spec.tenants
    row.save()
    if whose:
        _grant(row, spec)
    Pool.objects.get_or_create(lane=settings.STUDIO_LANE, name=spec.pool)


def _grant(row: Model, spec: ModelSpec) -> None:
    """Let the tenants that the entry names use the model; grants of the admin stay. Raises `CatalogError`."""
    for tenant in map(UUID, spec.tenants):
        with in_tenant(tenant):
            if not Tenant.objects.filter(pk=tenant).exists():
                raise CatalogError(f"model {spec.slug}: tenants: there is no tenant {tenant}")
            ModelGrant.objects.get_or_create(model=row)
