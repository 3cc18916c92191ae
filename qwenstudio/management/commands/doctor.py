"""manage.py doctor: what this studio needs, what it has, what to do."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from qwenstudio.doctor import Finding, examine


class Command(BaseCommand):
    help = "Check settings, database roles, Redis, storage, models, device and workers; exit code 1 if one fails."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")

    def handle(self, *, json: bool = False, **options: Any) -> None:
        findings = []
        for finding in examine():
            findings.append(finding)
            if not json:
                self.stdout.write(self._line(finding))
        if json:
            self.stdout.write(as_json(findings))
        if any(finding.level == "fail" for finding in findings):
            raise SystemExit(1)

    def _line(self, finding: Finding) -> str:
        style = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}[finding.level]
        remedy = f"\n{'':26}→ {finding.remedy}" if finding.remedy else ""
        return f"{style(f'{finding.level:4}')}  {finding.name:<18}  {finding.text}{remedy}"


def as_json(findings: list[Finding]) -> str:
    """All findings, in the order of the checks."""
    return json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
