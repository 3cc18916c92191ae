"""The golden cases that come with the studio. The database is the truth: what staff have once seen is theirs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from django.core.exceptions import ValidationError

from generation.domain.catalog import spec_of
from generation.engine.errors import CatalogError
from generation.enums import Task
from generation.models import GoldenCase, Model

FILE = Path(__file__).resolve().parents[3] / "deploy" / "golden.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedCase:
    """One case of the file; `model` is a slug."""

    model: str
    slug: str
    position: int
    prompt: str
    seed: int
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    true_cfg_scale: float | None = None
    task: str = Task.TEXT_TO_IMAGE.value
    starts_from: str = ""  # a slug of this file
    strength: float | None = None
    mask: str = ""
    tolerance: str = "close"
    note: str = ""


def read_shipped(file: Path = FILE) -> list[ShippedCase]:
    """The file's cases, in its order. Raises OSError, and ValueError or TypeError for a file that is not right."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    found = [
        ShippedCase(model=model, slug=slug, position=position, **case)
        for model, cases in tables.items()
        for position, (slug, case) in enumerate(cases.items())
    ]
    for at, case in enumerate(found):
        if case.starts_from and case.starts_from not in {one.slug for one in found[:at]}:
            raise ValueError(f"{file}: {case.slug}: starts_from {case.starts_from!r} is no case before it")
    return found


def add_shipped(file: Path = FILE) -> list[str]:
    """Write the cases of models that have none yet; their names.

    A model with a single case is staff's: what they deleted or changed never comes back. A name that another model's
    case has already is left to it, with what starts from it. So is a task that the model's entry does not offer.

    Raises what `read_shipped` raises.
    """
    models = {row.slug: row for row in Model.objects.all()}
    kept = set(GoldenCase.objects.values_list("model_id", flat=True))
    names = set(GoldenCase.objects.values_list("slug", flat=True))
    rows: dict[str, GoldenCase] = {}
    for case in read_shipped(file):
        left = case.model in kept or case.slug in names or (case.starts_from and case.starts_from not in rows)
        if not left and case.model in models and case.task in _tasks_of(models[case.model]):
            rows[case.slug] = _make_row(case, models[case.model], rows, file)
    # Two of these at once write each case once.
    return [row.slug for row in GoldenCase.objects.bulk_create(rows.values(), ignore_conflicts=True)]


def _tasks_of(model: Model) -> tuple[str, ...]:
    """None of an entry that staff broke."""
    try:
        return spec_of(model).tasks
    except CatalogError:
        return ()


def _make_row(case: ShippedCase, model: Model, rows: dict[str, GoldenCase], file: Path) -> GoldenCase:
    """Held to the rules of the admin. Raises ValueError naming case and field."""
    values = {field.name: getattr(case, field.name) for field in fields(case)}
    row = GoldenCase(**values | {"model": model, "starts_from": rows.get(case.starts_from)})
    try:
        row.clean_fields(exclude={"model", "starts_from"})  # rows that are here, or written with it
        row.check_start()
    except ValidationError as error:
        words = "; ".join(f"{name}: {', '.join(said)}" for name, said in error.message_dict.items())
        raise ValueError(f"{file}: {case.slug}: {words}") from error
    return row
