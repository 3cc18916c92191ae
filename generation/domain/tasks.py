"""Which task a request is, and how large its pictures become."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.errors import InvalidRequest
from generation.engine.catalog import ModelSpec
from generation.enums import Task
from generation.errors import TaskNotOffered

DEFAULT_STRENGTH = 0.6


def takes_pictures(tasks: Iterable[str]) -> bool:
    """Whether a model with these tasks can start from pictures."""
    return any(task != Task.TEXT_TO_IMAGE for task in tasks)


@dataclass(frozen=True, slots=True)
class Input:
    """One picture that a request starts from, as the studio keeps it: `file` under `STUDIO_MEDIA`, size in pixels."""

    id: UUID
    file: str
    sha256: str
    width: int
    height: int

    def to_params(self) -> dict[str, Any]:
        """As the generation's row holds it."""
        return {
            "id": str(self.id),
            "file": self.file,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
        }


@dataclass(frozen=True, slots=True)
class Inputs:
    """All of them."""

    images: tuple[Input, ...] = ()
    mask: Input | None = None


NO_INPUTS = Inputs()


def task_of(spec: ModelSpec, *, images: int, mask: bool, strength: float | None) -> Task:
    """The task follows from what a request gives and from what its model does.

    Raises `InvalidRequest` for what does not go together, `TaskNotOffered` naming the tasks of the model.
    """
    if mask and not images:
        raise InvalidRequest("mask needs the image that it belongs to", field="mask")
    if strength is not None and not images:
        raise InvalidRequest("strength needs an image to start from", field="strength")
    task = _follow(spec, images=images, mask=mask)
    if task not in spec.tasks:
        raise TaskNotOffered(task.value, slug=spec.slug, tasks=spec.tasks)
    if task is not Task.EDIT and images > 1:
        raise InvalidRequest(f"image has {images} entries, {task.value} starts from one", field="image")
    if task is Task.EDIT and strength is not None:
        raise InvalidRequest(
            "strength belongs to image-to-image and inpaint; this model edits by the prompt alone", field="strength"
        )
    return task


def tasks_to_edit(*, images: int, mask: bool) -> tuple[Task, ...]:
    """Which tasks serve who wants pictures changed and names no model, the best first."""
    if mask:
        return (Task.INPAINT,)
    return (Task.EDIT,) if images > 1 else (Task.EDIT, Task.IMAGE_TO_IMAGE)


def _follow(spec: ModelSpec, *, images: int, mask: bool) -> Task:
    if not images:
        return Task.TEXT_TO_IMAGE
    if mask:
        return Task.INPAINT
    if Task.EDIT in spec.tasks and (images > 1 or Task.IMAGE_TO_IMAGE not in spec.tasks):
        return Task.EDIT
    return Task.IMAGE_TO_IMAGE


def fit_size(
    width: int | None, height: int | None, *, spec: ModelSpec, inputs: Inputs, max_pixels: int
) -> tuple[int, int]:
    """The size of what is drawn. What a request leaves out follows from the first picture that it starts from: as large
    as that is, scaled into the model's limits and the plan's pixels, rounded to the model's multiple. Without a picture
    it is the model's.
    """
    if not inputs.images:
        return spec.default_width if width is None else width, spec.default_height if height is None else height
    if width is not None and height is not None:
        return width, height
    own = inputs.images[0]
    if width is not None:
        return width, _round(width * own.height / own.width, spec.max_height, spec.size_multiple)
    if height is not None:
        return _round(height * own.width / own.height, spec.max_width, spec.size_multiple), height
    share = min(
        1.0,
        spec.max_width / own.width,
        spec.max_height / own.height,
        math.sqrt(max_pixels / (own.width * own.height)),
    )
    fitted = (
        _round(own.width * share, spec.max_width, spec.size_multiple),
        _round(own.height * share, spec.max_height, spec.size_multiple),
    )
    ratio, less = own.width / own.height, spec.size_multiple
    while fitted[0] * fitted[1] > max_pixels and max(fitted) > less:  # rounded up over the plan's pixels
        narrower, lower = (fitted[0] - less, fitted[1]), (fitted[0], fitted[1] - less)
        fitted = min(
            (size for size in (narrower, lower) if min(size) > 0),
            key=lambda size: abs(math.log(size[0] / size[1] / ratio)),
        )
    return fitted


def _round(length: float, most: int, multiple: int) -> int:
    return max(multiple, min(most // multiple, round(length / multiple)) * multiple)
