"""The chat page: one's own conversations, one of them open, and files of them.

What is said goes to the API (`generation/api/conversations.py`) and is answered by the async door; the page itself
only reads. Without JavaScript conversations can be searched and fetched, not continued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.domain.callers import Caller
from accounts.domain.pages import Page
from accounts.domain.roles import Right
from accounts.enums import Scope
from accounts.errors import InvalidField, NotAllowed, NotFound
from accounts.web.access import member_page
from accounts.web.requests import StudioRequest
from generation.books.conversations import QUERY_CHARS, SYSTEM_CHARS, TITLE_CHARS, get_conversation, list_conversations
from generation.books.preferred import preferred_model
from generation.books.presets import MAX_PRESETS, NAME_CHARS, list_presets
from generation.books.shown import show_conversation, show_message, show_preset
from generation.books.transcripts import all_as_lines, as_json, as_markdown
from generation.books.turns import list_messages
from generation.chat.books import Listed
from generation.chat.demomodel import DEMO_SLUG
from generation.domain.catalog import visible_models
from generation.models import Conversation
from generation.web.builtin import shown_chat_models
from generation.web.chatsamples import demo_samples, presets, samples

LISTED = 60
SHOWN = 30  # messages; the page asks for earlier ones


@never_cache
@require_safe
@member_page
def chat(request: StudioRequest, caller: Caller, conversation: UUID | None = None) -> HttpResponseBase:
    """The page, with a conversation or for a new one; `?q=` searches in all of them."""
    if not caller.has(Right.CHAT):
        if conversation is not None:
            return render(request, "403.html", status=403)
        return render(request, "generation/chat.html", {"may_chat": False})
    try:
        opened = None if conversation is None else get_conversation(by=caller, conversation_id=conversation)
    except NotFound:
        raise Http404 from None
    query = request.GET.get("q", "").strip()[:QUERY_CHARS]
    found = _list(caller, query, request.GET.get("before"))
    models = shown_chat_models(caller)
    context = {
        "may_chat": True,
        "may_draw": caller.may(Scope.IMAGES_WRITE) and bool(visible_models(caller)),
        "models": models,
        "chosen": _chosen(models, opened),
        "demo": DEMO_SLUG,
        "conversation": opened,
        "conversations": found.results,
        "older": urlencode({**({"q": query} if query else {}), "before": found.next}) if found.next else "",
        "query": query,
        "snapshot": _snapshot(caller, opened),
        "presets": presets(),
        "own_presets": [show_preset(row) for row in list_presets(by=caller)],
        "samples": samples(),
        "demo_samples": demo_samples(),
        "limits": {"title": TITLE_CHARS, "system": SYSTEM_CHARS, "name": NAME_CHARS, "presets": MAX_PRESETS},
    }
    return render(request, "generation/chat.html", context)


@never_cache
@require_safe
@member_page
def chat_file(request: StudioRequest, caller: Caller, conversation: UUID, kind: str) -> HttpResponseBase:
    """One conversation as a file, `md` or `json`."""
    write, media_type = {"md": (as_markdown, "text/markdown"), "json": (as_json, "application/json")}[kind]
    try:
        content = write(by=caller, conversation_id=conversation)
    except NotAllowed:
        return render(request, "403.html", status=403)
    except NotFound:
        raise Http404 from None
    return _file(content, media_type, f"conversation-{str(conversation)[-6:]}.{kind}")


@never_cache
@require_safe
@member_page
def chat_files(request: StudioRequest, caller: Caller) -> HttpResponseBase:
    """All of one's conversations, one on each line."""
    try:
        content = all_as_lines(by=caller)
    except NotAllowed:
        return render(request, "403.html", status=403)
    return _file(content, "application/x-ndjson", "conversations.jsonl")


def _file(content: Any, media_type: str, name: str) -> HttpResponseBase:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(content, content_type=f"{media_type}; charset=utf-8", headers=headers)


def _list(caller: Caller, query: str, cursor: str | None) -> Page[Conversation]:
    """A cursor that is none of ours begins at the top."""
    try:
        return list_conversations(by=caller, query=query, cursor=cursor, limit=LISTED)
    except InvalidField:
        return list_conversations(by=caller, query=query, limit=LISTED)


def _chosen(models: Sequence[Listed], row: Conversation | None) -> str:
    """The model of the conversation while it is there, else one that can be believed to answer."""
    if row is not None and row.model in {model.slug for model in models}:
        return row.model
    return preferred_model(models)


def _snapshot(caller: Caller, row: Conversation | None) -> dict[str, Any]:
    """What the script begins with, messages in their order."""
    if row is None:
        return {"conversation": None, "messages": [], "earlier": None}
    page = list_messages(by=caller, conversation_id=row.pk, limit=SHOWN)
    return {
        "conversation": show_conversation(row),
        "messages": [show_message(message) for message in reversed(page.results)],
        "earlier": page.next,
    }
