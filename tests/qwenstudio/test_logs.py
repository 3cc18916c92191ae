"""Log lines: what they carry, and that no text can break one."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.domain.signin import make_sign_in_link
from accounts.logcontext import bind_log
from accounts.models import TokenDirectory
from qwenstudio.logs import ConsoleFormatter, JsonFormatter
from tests.factories import Person

FORMATTER = JsonFormatter(lane="green", release="abc123", process="web")
CONSOLE = ConsoleFormatter(lane="blue", colour=False)
OUTSIDE = [chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E, 0x2066)]


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


@pytest.mark.parametrize("character", OUTSIDE, ids=ascii)
def test_no_text_begins_a_line_or_speaks_to_the_terminal(character: str) -> None:
    text = f"a{character}12:00:00 INFO    studio: forged"
    with bind_log(client_request_id=text):
        record = make_record("GET %s", path=text)
        record.args = (text,)
        line = CONSOLE.format(record)
        machine = FORMATTER.format(record)
    assert character not in line
    assert line.count(f"a{ascii(character)[1:-1]}12:00:00") == 3
    assert line.splitlines() == [line]
    assert machine.splitlines() == [machine]
    assert character not in machine
    assert json.loads(machine)["path"] == text


def test_traceback_is_readable_and_forges_nothing() -> None:
    try:
        raise ValueError("first\n12:00:00 INFO    studio: forged\r\x1b[2J\x9b2J")
    except ValueError:
        lines = CONSOLE.format(make_record("failed", exc_info=True)).split("\n")
    assert lines[1] == "  Traceback (most recent call last):"
    assert lines[-2] == "  ValueError: first"
    assert lines[-1] == r"  12:00:00 INFO    studio: forged\r\x1b[2J\x9b2J"
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("write", [CONSOLE.format, FORMATTER.format], ids=["console", "json"])
@pytest.mark.parametrize("text", ["{}", "Gone: {}", "see http://127.0.0.1:8000{}?a=1", 'GET "{}" 200', "{} and {}"])
def test_tokens_of_links_are_hidden(write: Callable[[Any], str], text: str) -> None:
    token = "Ab-_9" * 8
    text = text.replace("{}", f"/sign-in/link/{token}/")
    try:
        raise ValueError(text)
    except ValueError:
        line = write(make_record(text, exc_info=True, path=text, deep=[{"url": text}]))
    assert token not in line
    assert "/sign-in/link/…" in line


def test_no_answer_writes_an_unspent_token(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    """Neither our access line nor Django's own words about refusals name what still opens the door."""
    link = make_sign_in_link(alice.user, "/studio/")
    path = f"/{link.split('/', 3)[3]}"
    token = path.split("/")[3]
    client = Client(enforce_csrf_checks=True)
    with caplog.at_level(logging.DEBUG):
        assert client.get(path).status_code == 200
        assert client.get(path.rstrip("/")).status_code == 301
        assert client.post(path).status_code == 403
        assert client.put(path).status_code in (403, 405)
        assert client.get(f"{path}more/").status_code == 404
    assert TokenDirectory.objects.filter(used_at=None).count() == 1
    access = [record for record in caplog.records if record.name == "qwenstudio.access"]
    assert {vars(record)["path"] for record in access} == {"/sign-in/link/…", "/sign-in/link/…more/"}
    assert not [record for record in access if token in record.getMessage()]
    lines = [write(record) for record in caplog.records for write in (CONSOLE.format, FORMATTER.format)]
    assert any("Forbidden" in line for line in lines)
    assert not [line for line in lines if token in line]
