"""The words of a call, for a tenant that keeps them: what was asked, and what was told (after its rules)."""

from __future__ import annotations

from collections.abc import Sequence

from generation.chat.books import Kept
from generation.chat.deltas import Delta
from generation.chat.request import ChatRequest, Message

KEPT_CHARS = 200_000  # of prompt and answer each
PICTURE = "[picture]"


class Keeper:
    """Of one call."""

    def __init__(self, asked: ChatRequest) -> None:
        self._prompt = "\n\n".join(map(_said, asked.messages))[:KEPT_CHARS]
        self._parts: list[str] = []
        self._left = KEPT_CHARS

    def add(self, deltas: Sequence[Delta]) -> None:
        """Some steps more of the answer, as its client was told them."""
        for delta in deltas:
            calls = "".join(f"{piece.name}{piece.arguments}" for piece in delta.tool_calls)
            for text in (delta.text, calls):
                if text and self._left > 0:
                    self._parts.append(text[: self._left])
                    self._left -= len(text)

    def kept(self) -> Kept:
        """All of it."""
        return Kept(prompt=self._prompt, answer="".join(self._parts))


def _said(message: Message) -> str:
    """ "user: a question", with a word for each picture."""
    words = [message.text, *([PICTURE] * len(message.images))]
    calls = [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return f"{message.role}: {' '.join(filter(None, (*words, *calls)))}"
