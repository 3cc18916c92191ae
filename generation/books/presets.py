"""A member's own presets: system prompts under a name. The chat page offers them beside those that come with it."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Lower

from accounts.domain.callers import Caller
from accounts.domain.names import is_one_line
from accounts.domain.sql import execute
from accounts.errors import InvalidField, NotFound
from generation.books.conversations import SYSTEM_CHARS, TURN_SQL, member_of, read_words
from generation.errors import PresetExists, TooManyPresets
from generation.models import ChatPreset

MAX_PRESETS = 50
NAME_CHARS = 60


def list_presets(*, by: Caller) -> list[ChatPreset]:
    """The caller's, oldest first. Raises `NotAllowed`."""
    return list(_own(by))


def get_preset(*, by: Caller, preset_id: UUID) -> ChatPreset:
    """One of them. Raises `NotAllowed`, `NotFound`."""
    found = _own(by).filter(pk=preset_id).first()
    if found is None:
        raise NotFound("no such preset")
    return found


def make_preset(*, by: Caller, name: str, text: str) -> ChatPreset:
    """A further one. Raises `NotAllowed`, `InvalidField`, `PresetExists`, `TooManyPresets`."""
    user, name, text = member_of(by), _read_name(name), _read_text(text)
    with transaction.atomic():
        execute(TURN_SQL, user=user)
        if _own(by).count() >= MAX_PRESETS:
            raise TooManyPresets(MAX_PRESETS)
        _check_free(by, name)
        made: ChatPreset = ChatPreset.objects.create(tenant_id=by.tenant, user=user, name=name, text=text)
    return made


def change_preset(*, by: Caller, preset_id: UUID, name: str | None = None, text: str | None = None) -> ChatPreset:
    """Change what is given; conversations that began with it stay as they are.

    Raises `NotAllowed`, `NotFound`, `InvalidField`, `PresetExists`.
    """
    user = member_of(by)
    with transaction.atomic():
        execute(TURN_SQL, user=user)
        row = get_preset(by=by, preset_id=preset_id)
        if name is not None:
            row.name = _read_name(name)
            _check_free(by, row.name, but=row.pk)
        if text is not None:
            row.text = _read_text(text)
        row.save(update_fields=["name", "text", "updated_at"])
    return row


def delete_preset(*, by: Caller, preset_id: UUID) -> None:
    """For good. Raises `NotAllowed`, `NotFound`."""
    if not _own(by).filter(pk=preset_id).delete()[0]:
        raise NotFound("no such preset")


def _own(by: Caller) -> QuerySet[ChatPreset]:
    found: QuerySet[ChatPreset] = ChatPreset.objects.filter(user=member_of(by))
    return found


def _check_free(by: Caller, name: str, *, but: UUID | None = None) -> None:
    named = _own(by).annotate(low=Lower("name")).filter(low=Lower(Value(name)))
    if any(row.pk != but for row in named):
        raise PresetExists(name)


def _read_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= NAME_CHARS or not is_one_line(name):
        raise InvalidField(f"name must be one line of 1 to {NAME_CHARS} characters", field="name")
    return name


def _read_text(text: str) -> str:
    words = read_words(text, "text", most=SYSTEM_CHARS)
    if not words:
        raise InvalidField("text must not be empty", field="text")
    return words
