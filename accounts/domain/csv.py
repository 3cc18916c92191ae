"""CSV that people open in spreadsheets: no cell of it can be a formula.

A text that begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe in front, which spreadsheets show
as text; blanks before it change nothing. So does what follows a semicolon, a tab or a line end within a text: where the
decimal point is a comma, spreadsheets take a semicolon for the end of a cell and our quotes for letters; where one of
those begins a cell, it begins a quoted text, so quotes are passed over like blanks. Numbers stay numbers, also negative
ones.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

BOM = "\ufeff"
# The last four are the wide forms, which spreadsheets in Chinese and Japanese read as the narrow ones.
_FORMULA = "=+\\-@＝＋－＠"
# Blanks of every width, and what has none at all; not those at which it begins anew.
_BLANK = r"(?:[^\S\t\r\n]|[\ufeff\u200b-\u200f\u2060])*"
_BEGINS = re.compile(rf"(?=[\t\r\n]|{_BLANK}[{_FORMULA}])")
_GOES_ON = re.compile(rf"(?<=[;\t\r\n])(?=(?:{_BLANK}\")*{_BLANK}[{_FORMULA}])")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], *, bom: bool = False) -> Iterator[str]:
    """The file line by line, so that it can be streamed (RFC 4180, UTF-8).

    With `bom` spreadsheets on Windows read other alphabets rightly.
    """
    yield (BOM if bom else "") + csv_line(header)
    for row in rows:
        yield csv_line(row)


def csv_line(cells: Sequence[Any]) -> str:
    """One line with its line end."""
    out = io.StringIO()
    csv.writer(out).writerow([safe_cell(cell) for cell in cells])
    return out.getvalue()


def safe_cell(value: Any) -> str | int | float:
    """A value as a cell: None is empty, times are ISO 8601, and no text is a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    text = value.isoformat() if isinstance(value, datetime | date) else str(value)
    # NUL ends a text for some readers: what comes after it would begin a new cell's life.
    text = text.replace("\x00", "")
    text = _GOES_ON.sub("'", text)
    return f"'{text}" if _BEGINS.match(text) else text
