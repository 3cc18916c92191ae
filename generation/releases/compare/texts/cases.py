"""What is asked (`deploy/golden-texts.toml`), and what one side says to it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from generation.chat.tasks import MOODS

FILE = Path(__file__).resolve().parents[4] / "deploy" / "golden-texts.toml"
LANGUAGES = ("en", "zh")
Kind = Literal["mood", "chat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCase:
    """One text. `wanted` is the right mood, or the language in which a chat is to be answered."""

    slug: str
    position: int
    kind: Kind
    text: str
    wanted: str

    def sha256(self, model: str) -> str:
        """A reference counts only where this is the same."""
        asked = json.dumps([self.kind, self.text, self.wanted, model])
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One side's word: a mood or an answer, or the code of an error. `scores` where the upstream has probabilities."""

    text: str = ""
    scores: Mapping[str, float] | None = None
    ms: int | None = None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        scores = None if self.scores is None else {mood: round(value, 4) for mood, value in self.scores.items()}
        return {"text": self.text, "scores": scores, "ms": self.ms, "error": self.error}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Said:
        """Of a row."""
        return cls(text=found["text"], scores=found["scores"], ms=found["ms"], error=found["error"])


def read_text_cases(file: Path = FILE) -> list[TextCase]:
    """The file's cases, moods first. Raises OSError, and ValueError for a file that is not right."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    if unknown := sorted(tables.keys() - {"moods", "chats"}):
        raise ValueError(f"{file}: {unknown[0]}: there are moods and chats")
    kinds: tuple[tuple[Kind, str, str, tuple[str, ...]], ...] = (
        ("mood", "moods", "label", MOODS),
        ("chat", "chats", "language", LANGUAGES),
    )
    found: list[TextCase] = []
    for kind, name, key, allowed in kinds:
        for slug, table in tables.get(name, {}).items():
            if set(table) != {"text", key} or not table["text"] or table[key] not in allowed:
                raise ValueError(f"{file}: {name}.{slug}: needs text, and {key}: one of {', '.join(allowed)}")
            position = 1000 + len(found)  # behind all pictures
            found.append(TextCase(slug=slug, position=position, kind=kind, text=table["text"], wanted=table[key]))
    return found
