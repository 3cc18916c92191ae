"""Requests of one UTC day from the JSON access log, however large: one line in memory, and a bounded table.

    journalctl -o cat --since yesterday -u 'studio-web@*' -u 'studio-stream@*' | manage.py daily --log -

Only our own access lines count (`"logger": "qwenstudio.access"`); everything else that stands in a journal is passed
over. Latencies are kept as a histogram whose steps are 10 percent wide, so percentiles are that exact.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO
from uuid import UUID

import orjson

LOGGER = b'"qwenstudio.access"'
LONGEST_LINE = 65_536  # bytes; a longer one is none of ours
MOST_ROUTES = 400  # whoever tries paths at random fills one row, not the memory
MOST_PAIRS = 5_000
OTHERS = "(others)"
STEP = math.log(1.1)
_ID = re.compile(r"(?<=/)(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,}|\d+)(?=[/.]|$)", re.IGNORECASE)
_NAME = re.compile(r"(?<=/)[\w.-]{24,}(?=/|$)")
_STREAM = re.compile(r"/api/v1/(?:events|images/[^/]+/events)")


@dataclass(slots=True)
class Route:
    """One method and path without ids."""

    count: int = 0
    errors: int = 0
    slowest_ms: float = 0.0
    steps: Counter[int] = field(default_factory=Counter)

    def add(self, ms: float, status: int) -> None:
        self.count += 1
        self.errors += status >= 500
        self.slowest_ms = max(self.slowest_ms, ms)
        self.steps[math.ceil(math.log(max(ms, 0.1)) / STEP)] += 1

    def percentile(self, share: float) -> float:
        """The upper edge of the step that holds it; 0 without requests."""
        wanted, seen = share * self.count, 0
        for step in sorted(self.steps):
            seen += self.steps[step]
            if seen >= wanted:
                return min(math.exp(step * STEP), self.slowest_ms)
        return 0.0


@dataclass(slots=True)
class Log:
    """What one day's lines said."""

    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """By class: `2xx`, `4xx`, …"""
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By code (or status, where an answer has none) and key's id (or nothing)."""
    routes: dict[str, Route] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Count one access line."""
        method, path, status, ms = str(line["method"]), str(line["path"]), int(line["status"]), float(line["ms"])
        is_stream = _STREAM.fullmatch(path) is not None
        if line.get("door") and not is_stream:
            return  # a submit that waited: Django's own line has counted it
        if 400 <= status < 500:
            pair = (str(line.get("code") or status)[:60], str(UUID(line["key"])) if line.get("key") else "")
            self.refused[pair if pair in self.refused or len(self.refused) < MOST_PAIRS else (OTHERS, "")] += 1
        self.requests += 1
        self.statuses[f"{status // 100}xx"] += 1
        if not is_stream:  # how long a stream was watched says nothing of how quick we are
            self._route(method, path, known=status != 404).add(ms, status)

    def _route(self, method: str, path: str, *, known: bool) -> Route:
        name = f"{method} {route_of(path)}" if known else OTHERS
        if name not in self.routes and len(self.routes) >= MOST_ROUTES:
            name = OTHERS
        return self.routes.setdefault(name, Route())

    def slowest(self, most: int) -> list[dict[str, Any]]:
        """The routes with the highest 95th percentiles."""
        rows: list[dict[str, Any]] = [
            {
                "route": name,
                "count": route.count,
                "errors": route.errors,
                "p95_ms": round(route.percentile(0.95), 1),
                "slowest_ms": round(route.slowest_ms, 1),
            }
            for name, route in self.routes.items()
        ]
        return sorted(rows, key=lambda row: (-row["p95_ms"], row["route"]))[:most]


def read_log(file: BinaryIO, *, day: date) -> Log:
    """The day's access lines of a file."""
    found, wanted = Log(), day.isoformat()
    for text in read_lines(file):
        if LOGGER not in text:
            continue
        try:
            line = orjson.loads(text)
            if line.get("logger") == "qwenstudio.access" and str(line.get("time", "")).startswith(wanted):
                found.add(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # half a line, or another program's
    return found


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines up to `LONGEST_LINE`; longer ones are left out without being held."""
    skipping = False
    while text := file.readline(LONGEST_LINE):
        is_whole = text.endswith(b"\n") or len(text) < LONGEST_LINE
        if is_whole and not skipping:
            yield text
        skipping = not is_whole


def route_of(path: str) -> str:
    """A path without ids, numbers and long names."""
    return _NAME.sub("{name}", _ID.sub("{id}", path))[:120]
