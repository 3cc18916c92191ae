"""Texts as searches compare them, and the sweep that brings rows of before into that form.

Folding makes letters of any width and case one (`ＡＢＣ`, `Abc`) and blanks single. It knows no words and no language:
a search finds pieces of text, which serves Chinese, written without blanks, and English alike.
"""

from __future__ import annotations

import re
from functools import cache
from unicodedata import combining, normalize

from django.db import transaction

from accounts.domain.sql import execute, fetch_all

MAX_CHARS = 65_536  # of a folded prompt: a few signs become eighteen letters each
MAX_MARKS = 30  # on one letter (UAX 15, stream-safe text); no language has a third of that
_NO_MARKS_FROM = 0x20000  # every character from here on is a letter, a sign, or none
_BATCH = 1000

_UNFOLDED_SQL = """
SELECT id, prompt FROM generation_generation WHERE folded IS NULL LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED
"""
_FOLD_SQL = """
UPDATE generation_generation g SET folded = f.text
  FROM unnest(%(ids)s::uuid[], %(texts)s::text[]) AS f (id, text) WHERE g.id = f.id
"""


def fold(text: str) -> str:
    """One form for all ways to write the same letters."""
    if not text.isascii():
        text = _heaps().sub(r"\1", text)
    return " ".join(normalize("NFKC", normalize("NFKC", text).casefold()).split())[:MAX_CHARS]


@cache
def _heaps() -> re.Pattern[str]:
    """More marks in a row than a letter has; the first of them are its group.

    Normalizing sorts the marks of a letter by insertion: a prompt that is nothing but marks would take its process,
    which holds the interpreter's lock meanwhile, for seconds.
    """
    chars = map(chr, range(0x80, _NO_MARKS_FROM))
    marks = "".join(char for char in chars if combining(normalize("NFKD", char)[0]))
    return re.compile(f"([{marks}]{{{MAX_MARKS}}})[{marks}]+")


def terms_of(query: str) -> list[str]:
    """What a prompt must hold to be found: every piece between blanks, anywhere and in any order."""
    return sorted(set(fold(query).split()), key=lambda term: (-len(term), term))  # long ones fit fewest prompts


def fold_prompts() -> int:
    """Fold some of the rows that are not yet: of before the column was there, or of a release that does not know it.

    The sweep's part, under the worker's role. What somebody has locked comes next time.
    """
    with transaction.atomic():
        rows = fetch_all(_UNFOLDED_SQL, most=_BATCH)
        if not rows:
            return 0
        return execute(_FOLD_SQL, ids=[row["id"] for row in rows], texts=[fold(row["prompt"]) for row in rows])
