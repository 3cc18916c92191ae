"""manage.py sweep: one sweep, now."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from generation.domain.storage import janitor
from generation.domain.sweep import sweep


class Command(BaseCommand):
    help = "Sweep once, as the ticker does every 5 s, and print what was found as JSON."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--files-older-than",
            type=float,
            metavar="SECONDS",
            help="also compare files and rows, and delete files of this age that no row names",
        )

    def handle(self, *, files_older_than: float | None = None, **options: Any) -> None:
        found: dict[str, Any] = dataclasses.asdict(sweep())
        if files_older_than is not None:
            found["files"] = dataclasses.asdict(janitor(older_than_s=files_older_than))
        self.stdout.write(json.dumps(found, default=str, indent=2))
