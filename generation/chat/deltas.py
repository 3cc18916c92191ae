"""What an upstream answers, piece by piece, whatever its protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# OpenAI's reasons for an end.
FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter"})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the upstream's own tokenizer counts them."""

    prompt: int
    completion: int
    reasoning: int = 0  # of the completion
    cached: int = 0  # of the prompt


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A part of a call: the first of an index has its id and name, the others only more of the arguments."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Delta(NamedTuple):
    """One step of an answer. An empty one says that the upstream has begun.

    A tuple, because a long answer has thousands: making one takes a third of the time.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    finish: str | None = None
    usage: Usage | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.tool_calls or self.finish or self.usage)
