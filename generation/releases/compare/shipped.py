"""The golden cases that come with the studio. The database is the truth: what staff have once seen is theirs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

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
    tolerance: str = "close"
    note: str = ""


def read_shipped(file: Path = FILE) -> list[ShippedCase]:
    """The file's cases, in its order. Raises OSError, and ValueError or TypeError for a file that is not right."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return [
        ShippedCase(model=model, slug=slug, position=position, **case)
        for model, cases in tables.items()
        for position, (slug, case) in enumerate(cases.items())
    ]


def add_shipped(file: Path = FILE) -> list[str]:
    """Write the cases of models that have none yet; their names.

    A model with a single case is staff's: what they deleted or changed never comes back. A name that another model's
    case has already is left to it.
    """
    offered = set(Model.objects.values_list("slug", flat=True))
    kept = set(GoldenCase.objects.values_list("model_id", flat=True))
    names = set(GoldenCase.objects.values_list("slug", flat=True))
    wanted = [case for case in read_shipped(file) if case.model in offered - kept and case.slug not in names]
    rows = [
        GoldenCase(
            model_id=case.model,
            **{field.name: getattr(case, field.name) for field in fields(case) if field.name != "model"},
        )
        for case in wanted
    ]
    # Two of these at once write each case once.
    return [row.slug for row in GoldenCase.objects.bulk_create(rows, ignore_conflicts=True)]
