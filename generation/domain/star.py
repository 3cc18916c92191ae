"""Starring a generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from accounts.errors import InvalidRequest
from generation.errors import GenerationNotFound
from generation.models import Generation


def star_generation(id: UUID, *, data: Mapping[str, Any]) -> None:
    """Read {starred: true or false} and write it. Raises `InvalidRequest`, `GenerationNotFound`."""
    unknown = sorted(set(data) - {"starred"})
    if unknown:
        name = unknown[0][:60]
        raise InvalidRequest(f"{name}: unknown or read-only, only starred can be changed", field=name)
    if not isinstance(data.get("starred"), bool):
        raise InvalidRequest("starred: must be true or false", field="starred")
    if not Generation.objects.filter(pk=id).update(starred=data["starred"]):
        raise GenerationNotFound
