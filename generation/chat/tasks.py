"""What the studio asks of a text model: a strict reader for `deploy/tasks.toml`, which belongs to a release."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
FILE = Path(__file__).resolve().parents[2] / "deploy" / "tasks.toml"
MOODS = ("positive", "neutral", "negative")
MAX_PROMPT = 8_000  # characters
MAX_TOKENS = 32_768
MAX_WORD_TOKENS = 64


class TasksError(ValueError):
    """The file is not right; the message names it and the field."""


class _FieldError(Exception):
    """One value is not right."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name, self.why = name, why


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTask:
    """Conversations that bring no system prompt of their own (an empty `system` adds none), and the sampling of those
    that leave it open, where their model leaves it open too.
    """

    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        _check_text("system", self.system, empty=True)
        if self.temperature is not None:
            _check_number("temperature", self.temperature, high=2.0)
        if self.top_p is not None:
            _check_number("top_p", self.top_p, high=1.0)
        if self.max_tokens is not None:
            _check_count("max_tokens", self.max_tokens, high=MAX_TOKENS)

    @property
    def sampling(self) -> dict[str, float | None]:
        """As a model has it (`targets.Offer`)."""
        return {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A mood asked for as a choice. What a mood means may be empty: then its name alone is shown."""

    instructions: str
    positive: str = ""
    neutral: str = ""
    negative: str = ""

    def __post_init__(self) -> None:
        _check_text("instructions", self.instructions)
        for mood in MOODS:
            _check_text(mood, getattr(self, mood), empty=True)

    @property
    def criteria(self) -> dict[str, str | None]:
        """The moods in their order, each with what it means."""
        return {mood: getattr(self, mood) or None for mood in MOODS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A mood asked for in a conversation; `again` follows an answer that is no mood."""

    system: str
    again: str
    temperature: float = 0.0
    max_tokens: int = 8

    def __post_init__(self) -> None:
        _check_text("system", self.system)
        _check_text("again", self.again)
        _check_number("temperature", self.temperature, high=2.0)
        _check_count("max_tokens", self.max_tokens, high=MAX_WORD_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentimentTask:
    """The mood of a text, both ways."""

    choice: Choice
    prompt: Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """All of them."""

    chat: ChatTask
    sentiment: SentimentTask

    def differences(self, other: Tasks) -> list[str]:
        """The fields that are not alike, by their names in the file."""
        ours, theirs = _flat(asdict(self)), _flat(asdict(other))
        return [name for name, value in ours.items() if value != theirs[name]]


def read_tasks(file: Path = FILE) -> Tasks:
    """The file's tasks.

    Raises `TasksError` naming file and field: no such file, no TOML, unknown, missing, wrong kind, out of range.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TasksError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TasksError(f"{file}: is no valid TOML: {error}") from error
    reader = _Reader(file)
    reader.check_names("", tables, ("chat", "sentiment"))
    sentiment = reader.table("sentiment", tables)
    reader.check_names("sentiment", sentiment, ("choice", "prompt"))
    return Tasks(
        chat=reader.make(ChatTask, "chat", tables),
        sentiment=SentimentTask(
            choice=reader.make(Choice, "sentiment.choice", sentiment),
            prompt=reader.make(Prompt, "sentiment.prompt", sentiment),
        ),
    )


@cache
def current_tasks() -> Tasks:
    """This release's tasks, read once. Raises `TasksError`."""
    return read_tasks()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads tables; every complaint names the file and the field."""

    file: Path

    def table(self, path: str, tables: Mapping[str, Any]) -> Mapping[str, Any]:
        found = tables.get(path.rpartition(".")[2])
        if not isinstance(found, dict):
            raise self._wrong(path, "is missing" if found is None else "must be a table")
        return found

    def check_names(self, path: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                raise self._wrong(f"{path}.{name}" if path else name, f"is not known; there are: {', '.join(known)}")

    def make(self, kind: type[T], path: str, tables: Mapping[str, Any]) -> T:
        table = self.table(path, tables)
        fields: Mapping[str, Any] = kind.__dataclass_fields__  # type: ignore[attr-defined]
        self.check_names(path, table, tuple(fields))
        try:
            return kind(**table)
        except TypeError as error:  # a field without a default is not there
            missing = [name for name in fields if f"'{name}'" in str(error)]
            raise self._wrong(f"{path}.{missing[0]}" if missing else path, "is missing") from None
        except _FieldError as error:
            raise self._wrong(f"{path}.{error.name}", error.why) from None

    def _wrong(self, path: str, why: str) -> TasksError:
        return TasksError(f"{self.file}: {path} {why}")


def _flat(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return found


def _check_text(name: str, value: object, *, empty: bool = False) -> None:
    if not isinstance(value, str):
        raise _FieldError(name, f"must be text, not {type(value).__name__}")
    if len(value) > MAX_PROMPT:
        raise _FieldError(name, f"is longer than {MAX_PROMPT} characters")
    if not value.strip() and (value or not empty):
        raise _FieldError(name, "must not be empty")


def _check_number(name: str, value: object, *, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _FieldError(name, f"must be a number, not {type(value).__name__}")
    if not 0 <= value <= high:
        raise _FieldError(name, f"must be between 0 and {high:g}, not {value:g}")


def _check_count(name: str, value: object, *, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _FieldError(name, f"must be a whole number, not {type(value).__name__}")
    if not 1 <= value <= high:
        raise _FieldError(name, f"must be between 1 and {high}, not {value}")
