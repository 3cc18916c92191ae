"""Single values of a request's body: each reader returns the value, or raises `Wrong` with the field's own words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from accounts.errors import InvalidRequest
from generation.chat.strictjson import printable

MAX_ERRORS = 20  # an answer must not be much longer than its request


class Wrong(ValueError):
    """One field's complaint; the bound is in it."""


class Fields:
    """Reads the fields of one object and remembers what was wrong with each.

    Fields that nobody reads are passed over: nothing of a body is sent on but what was read.
    """

    def __init__(self, data: Mapping[str, Any], place: str = "", errors: dict[str, list[str]] | None = None) -> None:
        self.data = data
        self.place = place
        self.errors: dict[str, list[str]] = {} if errors is None else errors

    def read(self, name: str, by: Callable[[Any], Any], *, required: bool = False) -> Any:
        """The field's value; None where it is absent, null or wrong."""
        value = self.data.get(name)
        if value is None:
            if required:
                self.complain(name, "is required")
            return None
        try:
            return by(value)
        except Wrong as error:
            self.complain(name, str(error))
            return None

    def complain(self, name: str, why: str) -> None:
        """Note that a field is wrong."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.setdefault(self.path(name), []).append(printable(why))

    def path(self, name: str) -> str:
        """The field's place from the top of the body: `messages[0].content`."""
        return f"{self.place}.{name}" if self.place else name

    def inner(self, name: str, index: int | None, value: Any) -> Fields:
        """The fields of an object inside this one; raises `Wrong` where it is none."""
        if not isinstance(value, Mapping):
            raise Wrong("must be an object" if index is None else f"[{index}] must be an object")
        where = self.path(name) if index is None else f"{self.path(name)}[{index}]"
        return Fields(value, where, self.errors)

    def raise_errors(self) -> None:
        """Raise one `InvalidRequest` for all that is wrong, or nothing."""
        if self.errors:
            message = "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in self.errors.items())
            raise InvalidRequest(message[:1000], field=next(iter(self.errors)), fields=dict(self.errors))


def text(most: int, *, least: int = 0) -> Callable[[Any], str]:
    """A reader of text of bounded length."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong("must be text")
        if not least <= len(value) <= most:
            raise Wrong(f"must have {least} to {most} characters, has {len(value)}")
        return value

    return read


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A reader of whole numbers within bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(f"must be a whole number from {low} to {high}")
        return value

    return read


def number(low: float, high: float) -> Callable[[Any], float]:
    """A reader of numbers within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Wrong(f"must be a number from {low:g} to {high:g}")
        return value

    return read


def flag(value: Any) -> bool:
    """True or false, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise Wrong("must be true or false")
    return value


def one_of(words: Collection[str]) -> Callable[[Any], str]:
    """A reader of one of these words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise Wrong(f"must be one of {', '.join(words)}")
        return value

    return read


def listed(value: Any, most: int, *, least: int = 0) -> list[Any]:
    """A list of bounded length."""
    if not isinstance(value, list):
        raise Wrong("must be a list")
    if not least <= len(value) <= most:
        raise Wrong(f"must have {least} to {most} entries, has {len(value)}")
    return value
