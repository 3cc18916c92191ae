"""manage.py daily: what happened yesterday, and how this machine stands."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError

from qwenstudio.daily.accesslog import Log, read_log
from qwenstudio.daily.report import look_at_machine, make_report, print_report
from qwenstudio.daily.stored import TOP, read_stored
from qwenstudio.settings import database_urls


def read_day(text: str) -> date:
    """A UTC day as 2026-11-25."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day like 2026-11-25") from None


class Command(BaseCommand):
    help = (
        "Print one UTC day (yesterday): refused and failed by code and key, latency against the 7 days before, use by "
        "organisation, GPU memory, errands, sign-ins; then certificates, disks and backup of this machine. Requests "
        "by route need the JSON access log."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--day", type=read_day, metavar="YYYY-MM-DD", help="this UTC day instead of yesterday")
        parser.add_argument("--log", metavar="FILE", help="the access log (STUDIO_LOG=json), - for standard input")
        parser.add_argument("--json", action="store_true", help="print the values as JSON")

    def handle(self, *, day: date | None = None, log: str | None = None, json: bool = False, **options: Any) -> None:
        day = day or datetime.now(UTC).date() - timedelta(days=1)
        found = None if log is None else open_log(log, day=day)
        keys = [key for (_, key), _ in found.refused.most_common(TOP) if key] if found else []
        url = database_urls["worker"]
        if not url:
            raise CommandError("DATABASE_WORKER_URL is not set and no studio runs here")
        try:
            stored = read_stored(url, day=day, keys=keys)
        except psycopg.Error as error:
            raise CommandError(f"the database does not answer: {str(error).strip().splitlines()[0]}") from None
        report = make_report(day, stored, found, look_at_machine())
        self.stdout.write(as_json(report) if json else print_report(report), ending="" if not json else "\n")


def open_log(name: str, *, day: date) -> Log:
    """Read a file or standard input."""
    if name == "-":
        return read_log(sys.stdin.buffer, day=day)
    try:
        with Path(name).open("rb") as file:
            return read_log(file, day=day)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None


def as_json(report: dict[str, Any]) -> str:
    """The values by name."""
    return json.dumps(report, indent=2, ensure_ascii=False, default=str)
