"""The JSON of conversations, messages and presets: the API's, the page's, and that of the door's events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from generation.books.turns import Turn
from generation.domain.present import present_time
from generation.enums import ANSWERING
from generation.models import ChatPreset, Conversation, Message

# What `show_row` takes; the door reads them by these names.
COLUMNS = (
    "id", "place", "role", "status", "text", "reasoning", "model", "finish", "code", "detail", "left_out", "tokens_in",
    "tokens_out", "total_ms", "created_at", "ended_at",
)  # fmt: skip


def show_conversation(row: Conversation) -> dict[str, Any]:
    """Without its messages."""
    return {
        "id": row.pk,
        "title": row.title,
        "model": row.model,
        "system": row.system,
        "created_at": present_time(row.created_at),
        "updated_at": present_time(row.updated_at),
    }


def show_message(row: Message) -> dict[str, Any]:
    """A message by its row."""
    return show_row({name: getattr(row, name) for name in COLUMNS})


def show_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A message by its columns."""
    tokens = None if row["tokens_out"] is None else {"prompt": row["tokens_in"], "answer": row["tokens_out"]}
    return {
        "id": row["id"],
        "place": row["place"],
        "role": row["role"],
        "status": row["status"],
        "text": row["text"],
        "reasoning": row["reasoning"],
        "model": row["model"],
        "finish": row["finish"],
        "error": {"code": row["code"], "message": row["detail"]} if row["code"] else None,
        "left_out": row["left_out"],
        "tokens": tokens,
        "total_ms": row["total_ms"],
        "created_at": present_time(row["created_at"]),
        "ended_at": present_time(row["ended_at"]),
    }


def show_turn(turn: Turn) -> dict[str, Any]:
    """What was said, and the answer that waits."""
    return {
        "conversation": show_conversation(turn.conversation),
        "said": None if turn.said is None else show_message(turn.said),
        "answer": show_message(turn.answer),
    }


def show_preset(row: ChatPreset) -> dict[str, Any]:
    """A preset's JSON."""
    return {
        "id": row.pk,
        "name": row.name,
        "text": row.text,
        "created_at": present_time(row.created_at),
        "updated_at": present_time(row.updated_at),
    }


def answer_event(body: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]]:
    """The event that tells where an answer is: `answer` while more may come, `end`, `idle` where there is none."""
    if body is None:
        return "idle", {}
    return ("answer" if body["status"] in ANSWERING else "end"), body
