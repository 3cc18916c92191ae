"""CSV: cells stay what they were, and none is a formula."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime
from typing import Any

import pytest

from accounts.domain.csv import BOM, csv_line, csv_text, safe_cell


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x","y")', "＝1", "\x00=1", "－1",
     " =1", "\u3000=1", "\ufeff=1", "\u200b @x"],
)  # fmt: skip
def test_formulas_become_text(text: str) -> None:
    assert str(safe_cell(text)).startswith("'")
    ((cell,),) = csv.reader(io.StringIO("".join(csv_text([text], [])), newline=""))
    assert cell.replace("'", "") == text.replace("\x00", "")


@pytest.mark.parametrize("between", [";", "; ", "\n", "\r\n", "\t"])
def test_where_a_semicolon_ends_a_cell_there_is_no_formula_either(between: str) -> None:
    line = csv_line([f"a{between}=cmd|' /c calc'!A0;b", 1])
    # As such a spreadsheet reads it: to it our quotes are letters.
    for cell in re.split(r"[;\t\r\n]", line):
        assert not cell.strip().startswith("=")
    assert safe_cell("a; b\nc - d; e=f") == "a; b\nc - d; e=f"


@pytest.mark.parametrize("between", [';"', '; "', ';""', ';" "', '\t"'])
def test_a_quote_behind_a_semicolon_hides_no_formula(between: str) -> None:
    line = csv_line(["x", f"a{between}=1+1;b"])
    for cell in next(csv.reader(io.StringIO(line.replace("\t", ";")), delimiter=";")):
        assert not cell.strip(' "').startswith("="), line
    assert safe_cell('a;"b" = c') == 'a;"b" = c'


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""), (-5, "-5"), (0.5, "0.5"), (True, "true"), ("a, \"b\"\r\nc", 'a, "b"\r\nc'), ("图", "图"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"), (date(2026, 1, 2), "2026-01-02"),
        ("a=1", "a=1"),
    ],
)  # fmt: skip
def test_others_survive(value: Any, cell: str) -> None:
    rows = list(csv.reader(io.StringIO("".join(csv_text(["name", "x"], [[value, 1]])), newline="")))
    assert rows == [["name", "x"], [cell, "1"]]


def test_streams_line_by_line() -> None:
    asked: list[int] = []

    def rows() -> Any:
        for number in range(3):
            asked.append(number)
            yield [number]

    lines = csv_text(["n"], rows(), bom=True)
    assert next(lines) == BOM + "n\r\n" and asked == []
    assert next(lines) == "0\r\n" and asked == [0]
