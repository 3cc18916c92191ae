"""Conversations as files for the member whose they are: one as Markdown or JSON, all of them as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson

from accounts.domain.callers import Caller
from generation.books.conversations import get_conversation, own_conversations
from generation.enums import MessageRole
from generation.models import Conversation, Message

TOGETHER = 20  # messages in memory: an answer may have 200,000 characters


def as_markdown(*, by: Caller, conversation_id: UUID) -> Iterator[str]:
    """One conversation, piece by piece. Raises `NotAllowed`, `NotFound`, before the first piece."""
    row = get_conversation(by=by, conversation_id=conversation_id)
    return _markdown(row)


def as_json(*, by: Caller, conversation_id: UUID) -> Iterator[str]:
    """The same as one JSON object."""
    row = get_conversation(by=by, conversation_id=conversation_id)
    return _json(row)


def all_as_lines(*, by: Caller) -> Iterator[str]:
    """All of the caller's, oldest first, each as one line of JSON. Raises `NotAllowed`, before the first piece."""
    return _lines(list(own_conversations(by).order_by("pk").values_list("pk", flat=True)), by)


def _markdown(row: Conversation) -> Iterator[str]:
    yield f"# {row.title or row.pk}\n\n{row.created_at:%Y-%m-%d %H:%M} UTC\n"
    if row.system:
        yield f"\n## System\n\n{row.system}\n"
    for message in _messages(row):
        who = "You" if message.role == MessageRole.USER else message.model
        yield f"\n## {who}\n\n{message.text}\n"


def _json(row: Conversation) -> Iterator[str]:
    head = {
        "id": row.pk,
        "title": row.title,
        "model": row.model,
        "system": row.system,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    yield f'{_dump(head)[:-1]},"messages":['
    comma = ""
    for message in _messages(row):
        yield comma + _dump(_message(message))
        comma = ","
    yield "]}\n"


def _message(message: Message) -> dict[str, Any]:
    fields = ("id", "role", "text", "reasoning", "status", "model", "finish", "tokens_in", "tokens_out", "created_at")
    return {name: getattr(message, name) for name in fields}


def _lines(ids: list[UUID], by: Caller) -> Iterator[str]:
    for id in ids:
        row = own_conversations(by).filter(pk=id).first()
        if row is not None:  # deleted meanwhile
            yield from _json(row)


def _messages(row: Conversation) -> Iterator[Message]:
    place = -1
    while found := list(Message.objects.filter(conversation=row.pk, place__gt=place).order_by("place")[:TOGETHER]):
        yield from found
        place = found[-1].place


def _dump(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
