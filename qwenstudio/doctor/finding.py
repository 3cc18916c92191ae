"""One line of the doctor's report, and a check that writes such lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]
SEVERITY: dict[Level, int] = {"fail": 0, "warn": 1, "ok": 2}
GIB = 1024**3
TIMEOUT_S = 5  # for one answer of one server


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` is what was seen, `remedy` what to do where that is not well. `group` and `check` say who looked."""

    level: Level
    name: str
    text: str
    remedy: str = ""
    group: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What it looks at, and how long anybody waits for it."""

    group: str
    find: Callable[[], Iterator[Finding]]
    patience_s: float = 25.0
