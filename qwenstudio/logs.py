"""One line per event: JSON for machines, a short coloured line for people.

Every line says what `accounts/logcontext.py` knows at that point (request, tenant, generation …), the lane and the
release. Prompts never reach a log: callers log ids, and exceptions are written without their arguments' values where
those could be a user's text (the database's own messages are kept terse for the same reason). What comes from outside
can neither begin a line of its own nor speak to a terminal, and a one-time link never stands in a line with its token:
who reads the log could go through it first.
"""

from __future__ import annotations

import json
import logging
import logging.config
import math
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from accounts.logcontext import log_fields

COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Short names in the console form, in this order; whatever else is bound follows under its own name.
SHORT = {"request_id": "req", "tenant": "tenant", "generation": "gen"}
# C0, DEL and C1 (line ends, a terminal's commands), Unicode's line ends, and what turns the direction of writing.
_PLAIN = frozenset({str, int, bool, type(None)})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# The paths of one-time links (accounts/web/urls.py, account_urls.py); no models are loaded here yet.
_TOKEN = re.compile(
    r"(/sign-in/link/|/sign-up/|/join/|/account/verify/|/account/password/reset/(?!sent/|done/))[\w.~%:-]+/?"
)


def wants_colour() -> bool:
    """On a terminal, or where the supervisor says that its own output is one; `NO_COLOR` always wins."""
    if os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("STUDIO_COLOUR") == "1" or sys.stderr.isatty()


def event_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was bound around the call, then what the call itself gave as `extra`."""
    extra = {name: value for name, value in vars(record).items() if name not in STANDARD}
    # Django's request logger adds the request object itself, which no line should try to print.
    extra.pop("request", None)
    return {**log_fields(), **extra}


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", "lane", "release", …bound fields, "exception"}`."""

    def __init__(self, *, lane: str, release: str, process: str) -> None:
        super().__init__()
        self.fixed = {"lane": lane, "release": release, "process": process}

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.fixed,
            **event_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = write_json(line)
        # JSON itself asks for C0 only; readers that split at the others would see two broken lines.
        return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", hide_tokens(text))


class ConsoleFormatter(logging.Formatter):
    """`12:03:04 INFO   worker: pass done  gen=0190… lane=blue`."""

    def __init__(self, *, lane: str, colour: bool) -> None:
        super().__init__()
        self.lane, self.colour = lane, colour

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with its traceback below it."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = event_fields(record)
        words = [f"{short}={fields.pop(name)}" for name, short in SHORT.items() if name in fields]
        words += [f"{name}={value}" for name, value in fields.items()]
        if self.lane != "blue":  # the only lane of most studios
            words.append(f"lane={self.lane}")
        level = self._paint(f"{record.levelname:<7}", COLOURS.get(record.levelname, "0"))
        tail = "  " + self._paint(_on_one_line(" ".join(words)), "2") if words else ""
        line = f"{moment} {level} {record.name}: {_on_one_line(record.getMessage())}{tail}"
        if record.exc_info:
            # Indented: an exception's own words may have line ends, and none of them begins like a line of ours.
            rows = self.formatException(record.exc_info).split("\n")
            line += "".join(f"\n  {_on_one_line(row)}" for row in rows)
        return hide_tokens(line).encode(errors="replace").decode()

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def hide_tokens(text: str) -> str:
    """The text without the tokens of one-time links."""
    return _TOKEN.sub(r"\1…", text)


def _on_one_line(text: str) -> str:
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def write_json(line: dict[str, Any]) -> str:
    """As JSON, whatever is in it. Nearly all lines are plain, and take a fifth of the time."""
    if all(type(value) in _PLAIN or (isinstance(value, float) and math.isfinite(value)) for value in line.values()):
        try:
            return orjson.dumps(line).decode()
        except TypeError:  # a lone surrogate, a whole number of more than 64 bits
            pass
    return json.dumps(make_printable(line), default=str, ensure_ascii=False)


def make_printable(value: Any) -> Any:
    """The same without what JSON in UTF-8 has no place for: lone surrogates (a path, a header) and NaN."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {make_printable(str(key)): make_printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [make_printable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def configure(config: dict[str, Any]) -> None:
    """Django's `LOGGING_CONFIG`: `{"format": "json" | "console"}`; everything goes to standard error."""
    from django.conf import settings  # the settings name this function, so they are complete when it runs

    lane, release, process = settings.STUDIO_LANE, settings.RELEASE, settings.PROCESS
    formatter: dict[str, Any] = (
        {"()": ConsoleFormatter, "lane": lane, "colour": wants_colour()}
        if config["format"] == "console"
        else {"()": JsonFormatter, "lane": lane, "release": release, "process": process}
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "DEBUG" if settings.DEBUG else "INFO"},
            "loggers": {
                # Every statement at DEBUG would carry prompts.
                "django.db.backends": {"level": "WARNING"},
                "django.utils.autoreload": {"level": "INFO"},
                "httpx": {"level": "WARNING"},
                "rq": {"level": "WARNING"},
                "PIL": {"level": "INFO"},
                "asyncio": {"level": "INFO"},
            },
        }
    )
