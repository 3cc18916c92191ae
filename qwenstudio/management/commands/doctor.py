"""manage.py doctor: what this studio needs, what it has, what to do."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from qwenstudio.doctor import CHECKS
from qwenstudio.doctor.change import tell
from qwenstudio.doctor.examine import examine
from qwenstudio.doctor.finding import Finding

FIELDS = ("group", "level", "name", "text", "remedy")


class Command(BaseCommand):
    help = (
        "Look at everything the studio needs: settings, database, Redis, room, GPU, work, network, units. Bad lines "
        "first, each with its cure; exit code 1 if one fails."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")
        parser.add_argument("--mail", action="store_true", help="mail staff what has changed since the last --mail")

    def handle(self, *, json: bool = False, mail: bool = False, **options: Any) -> None:
        findings = examine(CHECKS)
        self.stdout.write(as_json(findings) if json else self._screen(findings))
        if mail and not tell(findings, var=settings.STUDIO_VAR):
            self.stderr.write("nobody could be told what has changed; the next run tries again")
        if any(finding.level == "fail" for finding in findings):
            raise SystemExit(1)

    def _screen(self, findings: Sequence[Finding]) -> str:
        count = Counter(finding.level for finding in findings)
        total = f"{count['fail']} not well, {count['warn']} to look at, {count['ok']} well"
        return "\n".join([*map(self._line, findings), "", total])

    def _line(self, finding: Finding) -> str:
        style = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}[finding.level]
        remedy = f"\n{'':17}→ {finding.remedy}" if finding.remedy else ""
        return f"{style(f'{finding.level:4}')}  {finding.group:<9}  {finding.name}: {finding.text}{remedy}"


def as_json(findings: Sequence[Finding]) -> str:
    """All findings, in the order of the screen."""
    rows = [{name: value for name, value in dataclasses.asdict(found).items() if name in FIELDS} for found in findings]
    return json.dumps(rows, indent=2, ensure_ascii=False)
