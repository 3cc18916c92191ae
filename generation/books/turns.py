"""Turns of a conversation: what its member says, and the row of the answer, which the async door writes from then on.

Whoever changes a conversation holds its row, so turns come one after the other. An answer that is under way is left
alone: nothing before it changes meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.domain.callers import Caller
from accounts.domain.pages import Page, pack_cursor, unpack_cursor
from accounts.errors import InvalidField, InvalidRequest, NotFound
from generation.books.conversations import (
    check_model,
    get_conversation,
    lock_conversation,
    make_conversation,
    member_of,
    read_words,
    title_of,
)
from generation.domain.searchtext import fold
from generation.enums import ANSWERING, MessageRole, MessageStatus
from generation.errors import AnswerUnderWay, ConversationFull, NothingToAnswer
from generation.models import ChatModel, Conversation, Message

MAX_MESSAGES = 1000
"""Of a conversation, as a chat request has at most."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said (None where an earlier message is answered anew), and the answer that waits for its first word."""

    conversation: Conversation
    said: Message | None
    answer: Message


def list_messages(*, by: Caller, conversation_id: UUID, cursor: str | None = None, limit: int) -> Page[Message]:
    """A part of a conversation, its end first. Raises `NotAllowed`, `NotFound`, `InvalidField`."""
    rows = _messages(get_conversation(by=by, conversation_id=conversation_id))
    before = unpack_cursor(cursor, _read_place) if cursor else None
    if before is not None:
        rows = rows.filter(place__lt=before)
    found = list(rows.order_by("-place")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(results=found, next=pack_cursor([found[-1].place]) if more else None, previous=None)


def begin_with(*, by: Caller, text: str, model: str | None = None, system: str = "", title: str = "") -> Turn:
    """A new conversation with its first turn, both or none. Raises what making one and saying something raise."""
    with transaction.atomic():
        row = make_conversation(by=by, model=model, system=system, title=title)
        return say(by=by, conversation_id=row.pk, text=text)


def say(*, by: Caller, conversation_id: UUID, text: str, model: str | None = None) -> Turn:
    """Say something, and have it answered.

    Raises `NotAllowed`, `NotFound`, `InvalidField`, `InvalidRequest`, `ModelNotFound`, `AnswerUnderWay`,
    `ConversationFull`.
    """
    with transaction.atomic():
        row = lock_conversation(by=by, conversation_id=conversation_id)
        _check_idle(row)
        return _say(by, row, text, model=model, place=_next_place(row))


def say_differently(*, by: Caller, message_id: UUID, text: str, model: str | None = None) -> Turn:
    """Say something else in the place of an own message, which goes with all that followed it. Raises as `say`."""
    member_of(by)
    with transaction.atomic():
        found = Message.objects.filter(pk=message_id, user=by.user, role=MessageRole.USER).first()
        if found is None:
            raise NotFound("no such message of yours")
        row = lock_conversation(by=by, conversation_id=found.conversation_id)
        _check_idle(row)
        if not _messages(row).filter(pk=message_id).exists():  # it went while we waited for the row
            raise NotFound("no such message of yours")
        return _say(by, row, text, model=model, place=found.place)


def answer_again(*, by: Caller, conversation_id: UUID, model: str | None = None) -> Turn:
    """Have the last thing that was said answered anew; the answer that there is goes.

    Raises `NotAllowed`, `NotFound`, `ModelNotFound`, `AnswerUnderWay`, `NothingToAnswer`.
    """
    with transaction.atomic():
        row = lock_conversation(by=by, conversation_id=conversation_id)
        _check_idle(row)
        _choose_model(by, row, model)
        last = _messages(row).filter(role=MessageRole.USER).order_by("-place").first()
        if last is None:
            raise NothingToAnswer
        _cut(row, last.place + 1)
        return Turn(row, None, _wait(row, last.place + 1))


def stop_answer(*, by: Caller, conversation_id: UUID) -> Message | None:
    """Wish that the answer under way ends; what has come of it stays. The answer, or None where none is under way.

    One that waits ends at once; whoever writes one sees the wish within a second. Raises `NotAllowed`, `NotFound`.
    """
    with transaction.atomic():
        row = lock_conversation(by=by, conversation_id=conversation_id)
        active = _messages(row).filter(status__in=ANSWERING).select_for_update(no_key=True).first()
        if active is None:
            return None
        active.stop = True
        if active.status == MessageStatus.WAITING:
            active.status, active.ended_at = MessageStatus.STOPPED, timezone.now()
        active.save(update_fields=["stop", "status", "ended_at"])
    return active


def latest_answer(row: Conversation) -> Message | None:
    """The last answer of a conversation, at whatever stage."""
    return _messages(row).filter(role=MessageRole.ASSISTANT).order_by("-place").first()


def _messages(row: Conversation) -> QuerySet[Message]:
    found: QuerySet[Message] = Message.objects.filter(conversation=row.pk)
    return found


def _say(by: Caller, row: Conversation, text: str, *, model: str | None, place: int) -> Turn:
    """At a place; what stands there and after it goes."""
    _choose_model(by, row, model)
    words = _read_said(text, model=row.model)
    if place + 2 > MAX_MESSAGES:
        raise ConversationFull(MAX_MESSAGES)
    _cut(row, place)
    said: Message = Message.objects.create(
        tenant_id=by.tenant,
        conversation=row,
        user=row.user,
        place=place,
        role=MessageRole.USER,
        text=words,
        folded=fold(words),
        ended_at=timezone.now(),
    )
    if not row.title:
        row.title = title_of(words)
    return Turn(row, said, _wait(row, place + 1))


def _check_idle(row: Conversation) -> None:
    if _messages(row).filter(status__in=ANSWERING).exists():
        raise AnswerUnderWay


def _choose_model(by: Caller, row: Conversation, model: str | None) -> None:
    """Also the one that it has: staff may have taken it away since."""
    row.model = check_model(by, model or row.model)


def _read_said(text: str, *, model: str) -> str:
    most = ChatModel.objects.filter(pk=model).values_list("max_prompt_chars", flat=True).get()
    if len(text) > most:
        why = f"prompt too long, max {most} chars"
        raise InvalidRequest(why, field="text", fields={"text": [why]})
    words = read_words(text, "text", most=most)
    if not words:
        raise InvalidField("text must not be empty", field="text")
    return words


def _cut(row: Conversation, place: int) -> None:
    """Everything from a place on goes."""
    _messages(row).filter(place__gte=place).delete()


def _next_place(row: Conversation) -> int:
    last = _messages(row).order_by("-place").values_list("place", flat=True).first()
    return 0 if last is None else last + 1


def _wait(row: Conversation, place: int) -> Message:
    """The row of an answer, and the conversation's own with the time of its turn."""
    row.updated_at, row.folded = timezone.now(), fold(row.title)
    row.save(update_fields=["title", "folded", "model", "updated_at"])
    answer: Message = Message.objects.create(
        tenant_id=row.tenant_id,
        conversation=row,
        user=row.user,
        place=place,
        role=MessageRole.ASSISTANT,
        status=MessageStatus.WAITING,
        model=row.model,
    )
    return answer


def _read_place(values: list[Any]) -> int:
    (place,) = values
    if type(place) is not int or not 0 <= place <= MAX_MESSAGES:
        raise ValueError
    return place
