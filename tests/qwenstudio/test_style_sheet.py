"""The one style sheet: a brace that is lost takes every rule after it along, and no browser says so."""

from __future__ import annotations

import re
from pathlib import Path

SHEET = Path(__file__).resolve().parents[2] / "qwenstudio" / "static" / "studio" / "studio.css"


def test_chapters_begin_outside_of_rules() -> None:
    text = SHEET.read_text(encoding="utf-8")
    chapters = [chapter.start() for chapter in re.finditer(r"^/\* ----", text, re.MULTILINE)]
    assert len(chapters) > 8
    for place in (*chapters, len(text)):
        before = re.sub(r"/\*.*?\*/", "", text[:place], flags=re.DOTALL)
        assert before.count("{") == before.count("}"), text[place : place + 60]
