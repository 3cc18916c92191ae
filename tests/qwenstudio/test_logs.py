"""Log lines: what they carry, and that no text can break one."""

from __future__ import annotations

import json
import logging
import sys

from accounts.logcontext import bind_log
from qwenstudio.logs import ConsoleFormatter, JsonFormatter

FORMATTER = JsonFormatter(lane="green", release="abc123", process="web")


def make_record(message: str, *, exc_info: bool = False, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("studio.test", logging.INFO, __file__, 1, message, None, None)
    if exc_info:
        record.exc_info = sys.exc_info()
    vars(record).update(extra)
    return record


def test_json_line_names_its_surroundings() -> None:
    with bind_log(request_id="r1", tenant="t1", generation=None):
        line = json.loads(FORMATTER.format(make_record("done", ms=12)))
    assert line["message"] == "done"
    assert (line["lane"], line["release"], line["process"]) == ("green", "abc123", "web")
    assert (line["request_id"], line["tenant"], line["ms"]) == ("r1", "t1", 12)
    assert "generation" not in line
    assert line["time"].endswith("+00:00")


def test_bound_fields_end_with_their_block() -> None:
    with bind_log(request_id="outer"):
        with bind_log(request_id="inner"):
            assert json.loads(FORMATTER.format(make_record("x")))["request_id"] == "inner"
        assert json.loads(FORMATTER.format(make_record("x")))["request_id"] == "outer"
    assert "request_id" not in json.loads(FORMATTER.format(make_record("x")))


def test_traceback_stays_on_one_json_line() -> None:
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        text = FORMATTER.format(make_record("failed", exc_info=True))
    assert "\n" not in text
    assert "ValueError: line one" in json.loads(text)["exception"]


def test_lone_surrogates_and_odd_objects_do_not_lose_the_line() -> None:
    line = json.loads(
        FORMATTER.format(make_record("path \ud800", thing=object(), number=2**70, nan=float("nan"), keys={"\ud800": 1}))
    )
    assert line["message"] == "path ?"
    assert (line["number"], line["nan"], line["keys"]) == (2**70, "nan", {"?": 1})
    assert line["thing"].startswith("<object")


def test_console_line_is_plain_without_colour() -> None:
    with bind_log(generation="0190", request_id="r1"):
        text = ConsoleFormatter(lane="green", colour=False).format(make_record("done"))
    assert text.endswith("INFO    studio.test: done  req=r1 gen=0190 lane=green")
    assert "\x1b[" in ConsoleFormatter(lane="blue", colour=True).format(make_record("done"))
