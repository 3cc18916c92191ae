"""Styles: prompt templates that a tenant's admins make, and that its members choose by name.

A style is applied when a request becomes a row: the row keeps the words that are drawn and the style's name, so that
neither "again" nor a receipt changes when the style does. Whoever writes holds the tenant's row, so that places, names
and their number are counted one after the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Lower

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.names import is_one_line
from accounts.domain.roles import Right
from accounts.errors import InvalidField, InvalidRequest, NotFound
from accounts.models import Tenant
from generation.domain.request import GenerationRequest, raise_for
from generation.engine.request import MAX_PROMPT_CHARS
from generation.errors import StyleExists, TooManyStyles
from generation.models import Style

SLOT = "{prompt}"
MAX_STYLES = 100
NAME_CHARS = 60
TEXT_CHARS = 2000


def list_styles() -> list[Style]:
    """The tenant's, in their order. Runs in its scope."""
    return list(Style.objects.all())


def get_style(style_id: UUID) -> Style:
    """One of them. Raises `NotFound`."""
    found: Style | None = Style.objects.filter(pk=style_id).first()
    if found is None:
        raise NotFound("no such style")
    return found


def make_style(*, by: Caller, name: str, prompt: str, negative_prompt: str = "", position: int | None = None) -> Style:
    """A further one, the last in the list unless `position` says otherwise.

    Raises `NotAllowed`, `InvalidField`, `StyleExists`, `TooManyStyles`.
    """
    by.require(Right.MANAGE_STYLES)
    name, prompt, negative = read_name(name), read_template(prompt), read_text(negative_prompt, "negative_prompt")
    with transaction.atomic():
        _take_turn(by)
        count = Style.objects.count()
        if count >= MAX_STYLES:
            raise TooManyStyles(MAX_STYLES)
        _check_free(name)
        style: Style = Style.objects.create(
            tenant_id=by.tenant, name=name, prompt=prompt, negative_prompt=negative, position=count
        )
        if position is not None:
            _move(style, position)
        record("style.made", target=f"style:{style.pk}", detail={"name": name})
    return style


def change_style(
    *,
    by: Caller,
    style_id: UUID,
    name: str | None = None,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    position: int | None = None,
) -> Style:
    """Change what is given; `position` counts from 0, and one behind the last means the last.

    Raises `NotAllowed`, `NotFound`, `InvalidField`, `StyleExists`.
    """
    by.require(Right.MANAGE_STYLES)
    values = {
        "name": None if name is None else read_name(name),
        "prompt": None if prompt is None else read_template(prompt),
        "negative_prompt": None if negative_prompt is None else read_text(negative_prompt, "negative_prompt"),
    }
    with transaction.atomic():
        _take_turn(by)
        style = get_style(style_id)
        changed = {name: value for name, value in values.items() if value not in (None, getattr(style, name))}
        if "name" in changed:
            _check_free(str(changed["name"]), but=style.pk)
        for field, value in changed.items():
            setattr(style, field, value)
        if changed:
            style.save(update_fields=[*changed, "updated_at"])
        moved = position is not None and _move(style, position)
        if changed or moved:
            record("style.changed", target=f"style:{style.pk}", detail={"name": style.name})
    return style


def delete_style(*, by: Caller, style_id: UUID) -> Style:
    """For good; what was drawn with it stays as it is. Raises `NotAllowed`, `NotFound`."""
    by.require(Right.MANAGE_STYLES)
    with transaction.atomic():
        _take_turn(by)
        style = get_style(style_id)
        Style.objects.filter(pk=style_id).delete()
        Style.objects.filter(position__gt=style.position).update(position=F("position") - 1)
        record("style.deleted", target=f"style:{style_id}", detail={"name": style.name})
    return style


def apply_style(request: GenerationRequest) -> GenerationRequest:
    """The request in the words that are drawn; one without a style stays as it is. Runs in the tenant's scope.

    Raises `InvalidRequest` for a name that the tenant has not, and for words that are too long together.
    """
    if not request.style:
        return request
    style: Style | None = _named(request.style).first()
    if style is None:
        raise InvalidRequest(f"no style named {request.style!r}; GET /api/v1/styles lists yours", field="style")
    prompt = style.prompt.replace(SLOT, request.prompt)
    negative = ", ".join(text for text in (request.negative_prompt.strip(), style.negative_prompt) if text)
    errors = {
        name: [f"too long with the style {style.name!r}, max {MAX_PROMPT_CHARS} chars together"]
        for name, text in (("prompt", prompt), ("negative_prompt", negative))
        if len(text) > MAX_PROMPT_CHARS
    }
    raise_for(errors)
    return replace(request, prompt=prompt, negative_prompt=negative, style="", styled=style.name)


def read_name(text: str) -> str:
    """A style's name without blanks around it. Raises `InvalidField`."""
    name = text.strip()
    if not 1 <= len(name) <= NAME_CHARS or not is_one_line(name):
        raise InvalidField(f"name must be one line of 1 to {NAME_CHARS} characters", field="name")
    return name


def read_template(text: str) -> str:
    """A prompt template. Raises `InvalidField`."""
    template = read_text(text, "prompt")
    if template.count(SLOT) != 1:
        raise InvalidField(f"prompt must have {SLOT} in it once: there the words of a request stand", field="prompt")
    return template


def read_text(text: str, field: str) -> str:
    """Text of several lines at most, without blanks around it. Raises `InvalidField`."""
    found = text.replace("\r\n", "\n").strip()
    if len(found) > TEXT_CHARS:
        raise InvalidField(f"{field} too long, max {TEXT_CHARS} chars, got {len(found)}", field=field)
    if any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in found):
        raise InvalidField(f"{field} holds a NUL character or a lone surrogate, remove it", field=field)
    return found


def _take_turn(by: Caller) -> None:
    # Without locking out inserts that only name the tenant, such as submits.
    Tenant.objects.select_for_update(no_key=True).get(pk=by.tenant)


def _named(name: str) -> QuerySet[Any]:
    return Style.objects.annotate(low=Lower("name")).filter(low=Lower(Value(name.strip())))


def _check_free(name: str, *, but: UUID | None = None) -> None:
    if _named(name).exclude(pk=but).exists():
        raise StyleExists(name)


def _move(style: Style, position: int) -> bool:
    """Put it there, and the others in their order around it; whether anything has changed."""
    rows: list[Any] = [row for row in Style.objects.all() if row.pk != style.pk]
    before = style.position
    rows.insert(max(0, min(position, len(rows))), style)
    for place, row in enumerate(rows):
        if row.position != place:
            row.position = place
            Style.objects.filter(pk=row.pk).update(position=place)
    return style.position != before
