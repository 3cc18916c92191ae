"""Conversations of the chat page: listed, searched, begun, renamed and deleted by the member whose they are.

Nobody else's are ever found, whatever somebody's role: each query names the caller, inside of the tenant's own scope.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.domain.callers import Caller
from accounts.domain.names import is_one_line
from accounts.domain.pages import Page, read_page
from accounts.domain.roles import Right
from accounts.domain.sql import execute
from accounts.errors import InvalidField, NotAllowed, NotFound
from generation.books.offers import visible_chat_models
from generation.domain.searchtext import fold, terms_of
from generation.errors import ModelNotFound, TooManyConversations
from generation.models import Conversation, Message

MAX_CONVERSATIONS = 5000
TITLE_CHARS = 120
SHOWN_CHARS = 60  # of the first message, as a title
SYSTEM_CHARS = 8000
QUERY_CHARS = 200

# Two requests of one member that begin something count one after the other.
TURN_SQL = "SELECT pg_advisory_xact_lock(hashtextextended('chat:' || %(user)s::text, 0))"


def member_of(by: Caller) -> UUID:
    """Whose conversations a caller's are. Raises `NotAllowed` without the right to chat, or a member."""
    by.require(Right.CHAT)
    if by.user is None:
        raise NotAllowed("this credential belongs to no member and has no conversations of its own")
    return by.user


def own_conversations(by: Caller) -> QuerySet[Conversation]:
    """All of the caller's. Raises `NotAllowed`."""
    found: QuerySet[Conversation] = Conversation.objects.filter(user=member_of(by))
    return found


def list_conversations(*, by: Caller, query: str = "", cursor: str | None = None, limit: int) -> Page[Conversation]:
    """The caller's, the last turn first; `query` is pieces of text that title or messages hold, all of them.

    Raises `NotAllowed`, `InvalidField`.
    """
    if len(query) > QUERY_CHARS:
        raise InvalidField(f"q too long, max {QUERY_CHARS} chars", field="q")
    rows = own_conversations(by)
    for term in terms_of(query):
        said = Message.objects.filter(conversation=OuterRef("pk"), folded__contains=term)
        rows = rows.filter(Q(folded__contains=term) | Exists(said))
    return read_page(rows, cursor=cursor, limit=limit, time="updated_at")


def get_conversation(*, by: Caller, conversation_id: UUID) -> Conversation:
    """One of the caller's. Raises `NotAllowed`, `NotFound`."""
    found = own_conversations(by).filter(pk=conversation_id).first()
    if found is None:
        raise NotFound("no such conversation")
    return found


def lock_conversation(*, by: Caller, conversation_id: UUID) -> Conversation:
    """The same, for whoever changes it or its messages, until the transaction ends."""
    found = own_conversations(by).select_for_update(no_key=True).filter(pk=conversation_id).first()
    if found is None:
        raise NotFound("no such conversation")
    return found


def make_conversation(*, by: Caller, model: str | None = None, system: str = "", title: str = "") -> Conversation:
    """A further one, still without messages; without a model the first on offer.

    Raises `NotAllowed`, `InvalidField`, `ModelNotFound`, `TooManyConversations`.
    """
    user = member_of(by)
    values = {"model": check_model(by, model), "system": read_system(system), "title": read_title(title)}
    with transaction.atomic():
        execute(TURN_SQL, user=user)
        if own_conversations(by).count() >= MAX_CONVERSATIONS:
            raise TooManyConversations(MAX_CONVERSATIONS)
        made: Conversation = Conversation.objects.create(
            tenant_id=by.tenant, user=user, folded=fold(values["title"]), **values
        )
    return made


def change_conversation(
    *,
    by: Caller,
    conversation_id: UUID,
    title: str | None = None,
    model: str | None = None,
    system: str | None = None,
) -> Conversation:
    """Change what is given; model and system prompt hold from the next answer on.

    Raises `NotAllowed`, `NotFound`, `InvalidField`, `ModelNotFound`.
    """
    with transaction.atomic():
        row = lock_conversation(by=by, conversation_id=conversation_id)
        wanted = {
            "title": None if title is None else read_title(title, required=True),
            "model": None if model is None else check_model(by, model),
            "system": None if system is None else read_system(system),
        }
        changed = {name: value for name, value in wanted.items() if value not in (None, getattr(row, name))}
        for name, value in changed.items():
            setattr(row, name, value)
        if changed:
            row.folded = fold(row.title)
            row.save(update_fields=[*changed, "folded"])
    return row


def delete_conversation(*, by: Caller, conversation_id: UUID) -> None:
    """With all of its messages, for good; an answer under way ends. Raises `NotAllowed`, `NotFound`."""
    with transaction.atomic():
        row = lock_conversation(by=by, conversation_id=conversation_id)
        Message.objects.filter(conversation=row.pk).delete()
        own_conversations(by).filter(pk=row.pk).delete()


def check_model(by: Caller, slug: str | None) -> str:
    """A chat model that the caller may use. Raises `ModelNotFound`."""
    slugs = [one.slug for one in visible_chat_models(by)]
    if slug is None and slugs:
        return slugs[0]
    if slug is None or slug not in slugs:
        raise ModelNotFound(f"no model named {(slug or '')[:60]!r}; GET /v1/models lists yours", field="model")
    return slug


def read_title(text: str, *, required: bool = False) -> str:
    """A title without blanks around it. Raises `InvalidField`."""
    title = text.strip()
    if (required and not title) or len(title) > TITLE_CHARS or not is_one_line(title):
        raise InvalidField(f"title must be one line of 1 to {TITLE_CHARS} characters", field="title")
    return title


def read_system(text: str) -> str:
    """A system prompt. Raises `InvalidField`."""
    return read_words(text, "system", most=SYSTEM_CHARS)


def read_words(text: str, field: str, *, most: int) -> str:
    """Text of several lines without blanks around it. Raises `InvalidField`."""
    found = text.replace("\r\n", "\n").strip()
    if len(found) > most:
        raise InvalidField(f"{field} too long, max {most} chars", field=field)
    if any(char == "\x00" or "\ud800" <= char <= "\udfff" for char in found):
        raise InvalidField(f"{field} holds a NUL character or a lone surrogate, remove it", field=field)
    return found


def title_of(text: str) -> str:
    """A title for a conversation that begins with these words: their first line."""
    line = " ".join(next(filter(None, map(str.strip, text.splitlines())), "").split())
    line = "".join(char for char in line if char.isprintable())
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1].rstrip()}…"
