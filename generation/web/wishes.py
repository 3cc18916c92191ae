"""What the gallery's address asks for: filters as a person writes them, with what cannot be left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from accounts.domain.callers import Caller
from accounts.domain.usage import read_day
from accounts.errors import InvalidField
from accounts.web.requests import StudioRequest
from generation.domain.history import MAX_QUERY_CHARS, Filters, read_filters

SAID = ("q", "status", "model", "member", "size", "seed")  # as the API has them
TYPED = ("q", "size", "seed")  # by hand: a blank more means nothing
DAYS = ("from", "to")  # UTC, both in it


@dataclass(frozen=True, slots=True)
class Wishes:
    """The page's query, and the filters that it means."""

    said: dict[str, str]
    filters: Filters

    @property
    def any(self) -> bool:
        """Whether the list is narrowed at all."""
        return bool(self.said)

    @property
    def folded_away(self) -> int:
        """How many of its filters the page keeps behind a button."""
        return len(self.said.keys() - {"q", "starred"})

    def query(self, **more: str | None) -> str:
        """As an address has it."""
        return urlencode({**self.said, **{name: value for name, value in more.items() if value}})


def read_wishes(request: StudioRequest, caller: Caller) -> Wishes:
    """Read the address; whatever it says that cannot be is as if it were not there.

    Raises `NotFound` for a member whom the caller may not see, which is nobody's fault but the address's.
    """
    given = {name: request.GET.get(name, "") for name in (*SAID, *DAYS)}
    for name in TYPED:
        given[name] = given[name].replace("\x00", "").strip()
    given["q"] = given["q"][:MAX_QUERY_CHARS]
    said = {name: given[name] for name in SAID if _is_filter(name, given[name], caller)}
    if request.GET.get("starred") == "1":
        said["starred"] = "1"
    filters = read_filters({name: value for name, value in said.items() if name != "starred"}, by=caller)
    first, last = (_day(given[name], name) for name in DAYS)
    if first:
        said["from"] = given["from"]
    if last:
        said["to"] = given["to"]
    filters = replace(
        filters,
        starred=True if "starred" in said else None,
        created_after=_midnight(first) - timedelta(microseconds=1) if first else None,
        created_before=_midnight(last + timedelta(days=1)) if last else None,
    )
    return Wishes(said=said, filters=filters)


def _is_filter(name: str, value: str, caller: Caller) -> bool:
    if not value:
        return False
    try:
        read_filters({name: value}, by=caller)
    except InvalidField:
        return False
    return True


def _day(text: str, name: str) -> date | None:
    try:
        return read_day(text, name=name)
    except InvalidField:
        return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
