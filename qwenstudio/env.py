"""Strict readers of environment variables.

Every reader stops the start with the variable's name when the value is not one it knows. A secret may also come from a
file: `NAME_FILE` names it (the way container platforms hand secrets over).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path


class EnvError(Exception):
    """A variable holds a value that the studio does not understand."""


class Env:
    """Reads one mapping of variables (`os.environ` outside the tests)."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self.plain: dict[str, str] = {}
        """What was set of everything that was read, except secrets: what may be written down (`qwenstudio/backup`)."""

    def text(self, name: str, default: str = "") -> str:
        """The variable as it stands; an empty one counts as absent."""
        value = self._variables.get(name, "")
        if value:
            self.plain[name] = value
        return value or default

    def secret(self, name: str, default: str = "") -> str:
        """The variable, or the first line of the file that `NAME_FILE` names."""
        file = self._variables.get(f"{name}_FILE", "")
        if not file:
            return self._variables.get(name, "") or default
        if self._variables.get(name):
            raise EnvError(f"{name} and {name}_FILE are both set; keep one of them")
        try:
            content = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise EnvError(f"{name}_FILE: {error.strerror or error}: {file}") from error
        if not content:
            raise EnvError(f"{name}_FILE: the file is empty: {file}")
        return content

    def flag(self, name: str, *, default: bool) -> bool:
        """True or False and nothing else: `1`, `yes` or a typo would be a guess."""
        value = self.text(name)
        if not value:
            return default
        if value not in ("True", "False"):
            raise EnvError(f"{name} must be True or False, not {value!r}")
        return value == "True"

    def integer(self, name: str, *, default: int, low: int, high: int) -> int:
        """A whole number in `low … high`."""
        value = self.text(name)
        if not value:
            return default
        try:
            number = int(value)
        except ValueError:
            raise EnvError(f"{name} must be a whole number, not {value!r}") from None
        if not low <= number <= high:
            raise EnvError(f"{name} must be between {low} and {high}, not {number}")
        return number

    def choice(self, name: str, *, default: str, choices: Sequence[str]) -> str:
        """One of the listed words."""
        value = self.text(name, default)
        if value not in choices:
            raise EnvError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def words(self, name: str, default: Sequence[str] = ()) -> list[str]:
        """A list separated by commas or blanks."""
        value = self.text(name)
        return [word for word in value.replace(",", " ").split() if word] if value else list(default)

    def path(self, name: str, default: Path) -> Path:
        """A path; a relative one is taken from the working directory and made absolute."""
        value = self.text(name)
        return Path(value).expanduser().absolute() if value else default
