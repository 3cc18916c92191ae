"""What of a worker's log goes into the database: its own words about this row, no prompt, no secret, not too much."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from accounts.ids import uuid7
from accounts.logcontext import bind_log
from generation.domain.failures import MAX_CHARS, MAX_LINES, cut_lines
from generation.worker.lines import RecentLines

ours = logging.getLogger("generation.test")


@pytest.fixture
def lines() -> Iterator[RecentLines]:
    handler = RecentLines()
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def test_its_own_lines_and_those_about_none_since_its_claim(lines: RecentLines) -> None:
    row, other = uuid7(), uuid7()
    ours.warning("long before")
    since = time.time()
    with bind_log(generation=row):
        ours.info("about this one")
    with bind_log(generation=other):
        ours.warning("about another one")
    ours.error("about the pass")
    ours.info("named by its extra", extra={"generation": str(other)})
    ours.debug("too quiet")
    found = lines.about(row, since=since)
    assert [line.partition(": ")[2] for line in found] == ["about this one", "about the pass"]
    assert "INFO generation.test" in found[0]


def test_exceptions_say_kind_and_place_but_not_their_words(lines: RecentLines) -> None:
    try:
        raise RuntimeError("CUDA error near a red house, token=abc")
    except RuntimeError:
        ours.exception("pass failed as a whole")
    text = "\n".join(lines.about(uuid7(), since=0))
    assert "RuntimeError" in text
    assert "tests/generation/worker/test_lines.py" in text
    assert "in test_exceptions_say_kind_and_place" in text
    assert "red house" not in text and "abc" not in text


def test_libraries_prompts_and_secrets_stay_outside(lines: RecentLines) -> None:
    prompt = "a white house on the left\nof a meadow at night"
    logging.getLogger("library.tokenization").warning("truncated: %s", prompt)
    logging.getLogger("urllib3").info("quiet")
    ours.warning("drew %s twice", prompt)
    ours.warning("drew %r", prompt)
    ours.warning("key qs_live_0123456789abcdefghij and postgresql://studio_web:secret@host/name")
    text = "\n".join(lines.about(uuid7(), since=0, hide=(prompt, "")))
    assert "meadow" not in text and "white house" not in text
    assert "library.tokenization: (a library's words" in text
    assert "quiet" not in text
    assert "0123456789abcdef" not in text and "secret" not in text


def test_a_line_cannot_begin_another(lines: RecentLines) -> None:
    ours.warning("one\ntwo\u2028three %s", "x" * 5000)
    (found,) = lines.about(uuid7(), since=0)
    assert "\n" not in found and "\u2028" not in found
    assert len(found) <= 300


def test_broken_records_do_no_harm(lines: RecentLines) -> None:
    logging.raiseExceptions = False
    try:
        ours.warning("%d", "no number")
    finally:
        logging.raiseExceptions = True
    assert lines.about(uuid7(), since=0) == ()


def test_the_last_lines_are_kept_within_bounds() -> None:
    many = tuple(f"line {number} {'x' * 290}" for number in range(100))
    text = cut_lines(many)
    assert len(text) <= MAX_CHARS
    assert text.endswith(many[-1])
    assert len(cut_lines(tuple(str(number) for number in range(100))).splitlines()) == MAX_LINES
    assert cut_lines(("a\x00\ud800b",)) == "a?b"
