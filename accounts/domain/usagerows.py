"""Usage as rows: for programs, page by page, and for spreadsheets, week by week."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from accounts.domain.csv import csv_text
from accounts.domain.pages import Page, pack_cursor, unpack_cursor
from accounts.domain.sql import fetch_all
from accounts.domain.usage import COLUMNS, GROUPS, SUMMED, SUMS, WHERE, UsageFilter, name_keys, name_members
from accounts.errors import InvalidField
from accounts.ids import NO_ID

CSV_HEADER = ("day", "member", "member_id", "key", "key_id", "model", "images", "gpu_ms", "tokens")
CHUNK_DAYS = 7  # of a file at a time

# The rows' order as one that only ascends, so that one comparison finds the place to go on from. What has no member or
# key comes first.
_ORDER = {
    "day": ("(date '9999-12-31' - e.charged_on)", "int"),  # newest first
    "member": (f"coalesce(e.\"user\", '{NO_ID}')", "uuid"),
    "key": (f"coalesce(e.key, '{NO_ID}')", "uuid"),
    "model": ("e.label", "text"),
}


def read_groups(text: str | None) -> tuple[str, ...]:
    """`group_by` of a query: some of day, member, key and model, with commas; the day without it."""
    words = (text or "day").split(",")
    if not set(words) <= set(GROUPS) or len(set(words)) != len(words):
        raise InvalidField(f"group_by must be some of {', '.join(GROUPS)}, each once", field="group_by")
    return tuple(group for group in GROUPS if group in words)


def read_usage(wanted: UsageFilter, *, groups: Sequence[str], cursor: str | None, limit: int) -> Page[dict[str, Any]]:
    """One page of usage by these groups: newest days first, then by the ids of members and keys and by model."""
    place, back = _decode(cursor, groups) if cursor else (None, False)
    found = _fetch(wanted, groups, place=place, back=back, limit=limit + 1)
    more, found = len(found) > limit, found[:limit]
    if back:
        found.reverse()
    newer, older = (more, True) if back else (place is not None, more)
    return Page(
        results=_present(found, groups),
        next=_encode(found[-1], groups, back=False) if found and older else None,
        previous=_encode(found[0], groups, back=True) if found and newer else None,
    )


def write_usage(wanted: UsageFilter) -> Iterator[str]:
    """A CSV file of everything, line by line, newest week first; holds a week at a time."""
    return csv_text(CSV_HEADER, _lines(wanted), bom=True)


def _lines(wanted: UsageFilter) -> Iterator[list[Any]]:
    last = wanted.last
    while last >= wanted.first:
        first = max(wanted.first, last - timedelta(days=CHUNK_DAYS - 1))
        rows = _fetch(replace(wanted, first=first, last=last), GROUPS, place=None, back=False, limit=None)
        for row in _present(rows, GROUPS):
            member, key = row["member"] or {}, row["key"] or {}
            words = [row["day"], member.get("name"), member.get("id"), key.get("name"), key.get("id"), row["model"]]
            yield [*words, row["images"], row["gpu_ms"], row["tokens"]]
        last = first - timedelta(days=1)


def _fetch(
    wanted: UsageFilter, groups: Sequence[str], *, place: Sequence[Any] | None, back: bool, limit: int | None
) -> list[dict[str, Any]]:
    keys = [_ORDER[group][0] for group in groups]
    types = [_ORDER[group][1] for group in groups]
    direction = "DESC" if back else "ASC"
    after = ""
    if place is not None:
        marks = ", ".join(f"%(place{number})s::{kind}" for number, kind in enumerate(types))
        after = f"AND ({', '.join(keys)}) {'<' if back else '>'} ({marks})"
    # Only names and expressions of this module are put in.
    sql = f"""
SELECT {", ".join(f"{COLUMNS[group]} AS {group}" for group in groups)}, {SUMS}
  FROM accounts_ledgerentry e
 WHERE {WHERE} {after}
 GROUP BY {", ".join(COLUMNS[group] for group in groups)}
 ORDER BY {", ".join(f"{key} {direction}" for key in keys)} LIMIT %(limit)s
"""  # noqa: S608
    marks_at = {f"place{number}": value for number, value in enumerate(place or ())}
    return fetch_all(sql, limit=limit, **wanted.parameters(), **marks_at)


def _present(rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as JSON, with names: two more statements, however many rows."""
    members = name_members(row["member"] for row in rows if row["member"]) if "member" in groups else {}
    keys = name_keys(row["key"] for row in rows if row["key"]) if "key" in groups else {}
    names = {"member": members, "key": keys}
    return [
        {group: _said(group, row[group], names) for group in groups} | {name: row[name] for name in SUMMED}
        for row in rows
    ]


def _said(group: str, value: Any, names: Mapping[str, Mapping[UUID, str]]) -> Any:
    if group == "day":
        return value.isoformat()
    if group == "model":
        return value or None
    return None if value is None else {"id": str(value), "name": names[group].get(value, "")}


def _encode(row: Mapping[str, Any], groups: Sequence[str], *, back: bool) -> str:
    values = [row[group].isoformat() if group == "day" else str(row[group] or "") for group in groups]
    return pack_cursor([int(back), *values])


def _decode(text: str, groups: Sequence[str]) -> tuple[list[Any], bool]:
    """The place in a cursor; raises `InvalidField` for one that we did not make, or made for other groups."""

    def read(found: list[Any]) -> tuple[list[Any], bool]:
        back, *values = found
        return [_place(group, value) for group, value in zip(groups, values, strict=True)], back == 1

    return unpack_cursor(text, read)


def _place(group: str, value: str) -> Any:
    if group == "day":
        return (date(9999, 12, 31) - date.fromisoformat(value)).days
    if group == "model":
        if len(value) > 60 or not value.isprintable():
            raise ValueError
        return value
    return UUID(value) if value else NO_ID
