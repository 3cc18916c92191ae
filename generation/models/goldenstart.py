"""What a golden case may start from: rules that hold wherever one is written, in the admin and in the shipped file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist
from django.utils.translation import gettext as _

from generation.engine.catalog import ModelSpec
from generation.engine.errors import CatalogError
from generation.engine.region import Region
from generation.enums import Task

if TYPE_CHECKING:
    from generation.models.golden import GoldenCase


def base_of(case: GoldenCase) -> GoldenCase | None:
    """The case that it starts from; None where it names none, or one that is gone."""
    try:
        return case.starts_from
    except ObjectDoesNotExist:  # a release that knows nothing of it has deleted it
        return None


def check_start(case: GoldenCase, *, followers: bool) -> dict[str, str]:
    """What is wrong with a case's task and all that belongs to it, by field; nothing for one that can be drawn.

    `followers`: whether other cases start from this one.
    """
    try:
        tasks = ModelSpec.from_table(case.model_id, case.model.spec, source_name="database").tasks
    except CatalogError as error:
        return {"model": str(error)}
    if case.task not in tasks:
        words = _("%(model)s has no %(task)s, its tasks are %(tasks)s")
        return {"task": words % {"model": case.model_id, "task": case.task, "tasks": ", ".join(tasks)}}
    if case.task == Task.TEXT_TO_IMAGE:
        return _check_text(case)
    return _check_own(case) | _check_base(case, alone=Task.TEXT_TO_IMAGE in tasks, followers=followers)


def _check_text(case: GoldenCase) -> dict[str, str]:
    """From text alone: nothing of a picture belongs to it."""
    words = _("belongs to a case that starts from another one's picture; leave it empty, or choose another task")
    given = {"starts_from": case.starts_from_id, "strength": case.strength, "mask": case.mask}
    return {name: words for name, value in given.items() if value not in (None, "")}


def _check_own(case: GoldenCase) -> dict[str, str]:
    """Strength, mask and size."""
    errors = {}
    if case.strength is not None and case.task == Task.EDIT:
        errors["strength"] = _("belongs to image-to-image and inpaint; leave it empty")
    elif case.strength is not None and not 0 < case.strength <= 1:
        errors["strength"] = _("must be more than 0, up to 1, got %(value)s") % {"value": f"{case.strength:g}"}
    if case.task == Task.INPAINT:
        try:
            Region.parse(case.mask)
        except ValueError as error:
            errors["mask"] = str(error)
    elif case.mask:
        errors["mask"] = _("belongs to inpaint; leave it empty")
    for name in ("width", "height"):
        if getattr(case, name) is not None:
            errors[name] = _("is that of the picture it starts from; leave it empty")
    return errors


def _check_base(case: GoldenCase, *, alone: bool, followers: bool) -> dict[str, str]:
    """The case that it starts from. `alone`: its own model has cases that start from text."""
    base = base_of(case)
    if base is None:
        return {"starts_from": _("is required: the case whose picture it starts from")}
    name = {"name": base.slug}
    if base.pk == case.pk:
        return {"starts_from": _("a case cannot start from its own picture")}
    if base.task != Task.TEXT_TO_IMAGE:
        return {"starts_from": _("%(name)s starts from a picture itself: a chain may have one step") % name}
    if followers:
        return {"starts_from": _("other cases start from this one: a chain may have one step")}
    if alone and base.model_id != case.model_id:
        words = _("%(name)s is a case of %(other)s, it must be one of %(model)s")
        return {"starts_from": words % {**name, "other": base.model_id, "model": case.model_id}}
    return {}
