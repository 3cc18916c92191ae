"""Lines out of packets of any size."""

from __future__ import annotations

import time

import pytest

from generation.chat.upstreams.dialect import AnswerError
from generation.chat.upstreams.lines import LINE_BYTES, Lines


def test_lines_in_every_cut() -> None:
    data = b"one\r\n\ntwo\nthree"
    for cut in range(len(data) + 1):
        lines = Lines()
        assert [*lines.feed(data[:cut]), *lines.feed(data[cut:])] == [b"one", b"", b"two"]
        assert lines.end() == b"three" and lines.end() == b""


def test_a_long_line_byte_by_byte_is_little_work() -> None:
    lines, began = Lines(), time.process_time()
    for _ in range(LINE_BYTES):
        lines.feed(b"x")
    assert lines.feed(b"\n") == [b"x" * LINE_BYTES]
    assert time.process_time() - began < 5  # copying what is there for each byte would be half a terabyte


def test_a_line_has_a_length() -> None:
    lines = Lines()
    with pytest.raises(AnswerError, match="more than"):
        lines.feed(b"x" * (LINE_BYTES + 1))
    lines = Lines()
    lines.feed(b"y\n" + b"x" * LINE_BYTES)
    with pytest.raises(AnswerError):
        lines.feed(b"x")
